//! SYN cookies (RFC 4987, section 3.6): a listener whose queue of half-open children is full
//! answers without remembering.

use super::Host;
use super::ip_options::Incoming;
use super::listen::tuple;
use super::queue::Queue;
use crate::tcp::{Flags, Segment, SeqNum, State, Tcb, cookie};
use crate::time::Duration;

/// How long after the last cookie one may still come back (Linux: TCP_SYNCOOKIE_VALID).
const VALID: Duration = Duration::from_secs(120);
/// The MSS of a SYN that tells none (RFC 9293, section 3.7.1), as Linux takes it here.
const DEFAULT_MSS: u16 = 536;

impl Host<'_> {
    /// Answer a SYN with a cookie.
    // RFC 4987 S3.6-1
    pub(super) fn send_cookie(&mut self, listener: u32, came: &Incoming<'_>) {
        let Incoming {
            local,
            remote,
            seg: syn,
            ..
        } = *came;
        let Some(list) = self.list_of_child(listener, came) else {
            return;
        };
        let now = self.now;
        self.sh.sockets[listener].cookie_sent = now;
        self.sh.counters.syncookies_sent += 1;
        let l = &self.sh.sockets[listener];
        let told = syn.options.mss.unwrap_or(DEFAULT_MSS);
        let mss = match l.tcp_options.maxseg {
            0 => told,
            set => set.min(told),
        };
        let v6 = !local.addr.is_v4();
        let iss = cookie::make(
            now,
            &self.sh.secret,
            &tuple(local, remote),
            syn.seq,
            mss,
            v6,
        );
        let path = self.path(l, &list, local, remote);
        // What a child would have sent, had the SYN asked for what can be kept alone.
        let stamped = syn.options.timestamps.is_some() && l.sysctl.tcp_timestamps != 0;
        let syn = &if stamped { *syn } else { cookie::stripped(syn) };
        let mut tcb = Tcb::accept(now, iss, path, l.tcp_options, &l.sysctl, syn);
        let agreed = tcb.agreed();
        let Some(mut answer) = tcb.poll_transmit(now, 0, &mut []) else {
            return;
        };
        if let Some((clock, _)) = &mut answer.segment.options.timestamps {
            let time = clock.wrapping_sub(path.ts_offset);
            *clock = cookie::stamp(time, agreed).wrapping_add(path.ts_offset);
        }
        self.send_stray(local, remote, answer.segment, &list);
    }

    /// An ACK for a listener: if it brings a cookie back, the connection is there. False: it is
    /// none, and gets a RST.
    pub(super) fn cookie_comes_back(
        &mut self,
        listener: u32,
        came: &Incoming<'_>,
        payload: &mut Queue,
    ) -> bool {
        let Incoming {
            local, remote, seg, ..
        } = *came;
        let l = &self.sh.sockets[listener];
        let sent = l.cookie_sent;
        if seg.flags.has(Flags::SYN)
            || l.sysctl.tcp_syncookies == 0
            || sent.0 == 0
            || self.now.since(sent) > VALID
        {
            return false;
        }
        let one_before = |n: SeqNum| SeqNum(n.0.wrapping_sub(1));
        let (irs, iss) = (one_before(seg.seq), one_before(seg.ack));
        let v6 = !local.addr.is_v4();
        let tuple = tuple(local, remote);
        let Some(mss) = cookie::check(self.now, &self.sh.secret, &tuple, irs, iss, v6) else {
            self.sh.counters.syncookies_failed += 1;
            return false;
        };
        self.sh.counters.syncookies_recv += 1;
        if l.accept_len > l.backlog {
            self.sh.counters.listen_overflows += 1;
            self.sh.counters.listen_drops += 1;
            return true;
        }
        let Some(list) = self.list_of_child(listener, came) else {
            return true;
        };
        let offset = self.path(l, &list, local, remote).ts_offset;
        let echoed = seg
            .options
            .timestamps
            .map(|(_, echo)| echo.wrapping_sub(offset));
        let (options, ecn) = cookie::options(mss, &seg.options, echoed);
        let syn = Segment {
            seq: irs,
            ack: SeqNum(0),
            flags: Flags::SYN.with(ecn),
            ecn: 0,
            options,
            len: 0,
            ..*seg
        };
        let opens = Incoming { seg: &syn, ..*came };
        let Some(child) = self.new_child(listener, &opens, &list, iss) else {
            self.sh.counters.no_buffers += 1;
            return true;
        };
        self.sh.sockets[child].tcb.cookie_came_back(mss);
        self.trace_state(child, State::Listen, State::SynReceived);
        // It does not wait for data either (TCP_DEFER_ACCEPT): nobody would send the SYN+ACK again.
        self.take_segment(child, came, payload);
        true
    }
}

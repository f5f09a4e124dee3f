//! What happened to a connection, as Linux counts it (`LINUX_MIB_*`, the `TcpExt` of
//! /proc/net/netstat). A connection notes, and its host collects: [`super::Tcb::take_noted`].

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something that is counted.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Mib {
            $($(#[$doc])* $name,)*
        }

        impl Mib {
            /// All, in order.
            pub const ALL: [Mib; COUNT] = [$(Mib::$name,)*];

            /// Linux's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Mib::$name => $text,)*
                }
            }
        }

        /// How many there are.
        pub const COUNT: usize = [$($text,)*].len();
    };
}

counters! {
    // Of these one segment or ACK may bring many: the first [`WIDE`].
    /// Segments newly acknowledged or reported.
    Delivered = "TCPDelivered",
    /// Those whose ACK had ECE.
    DeliveredCe = "TCPDeliveredCE",
    /// Segments sent for the first time.
    OrigDataSent = "TCPOrigDataSent",
    /// Retransmissions that were lost.
    LostRetransmit = "TCPLostRetransmit",
    /// Retransmissions in fast recovery.
    FastRetrans = "TCPFastRetrans",
    /// Those after a timeout, but for the timer's own.
    SlowStartRetrans = "TCPSlowStartRetrans",
    /// Windows at which HyStart ended slow start.
    HystartDelayCwnd = "TCPHystartDelayCwnd",
    /// Segments that duplicates' reports cover.
    DsackRecvSegs = "TCPDSACKRecvSegs",
    /// Timeouts, of SYNs, too.
    Timeouts = "TCPTimeouts",
    /// SYNs and SYN+ACKs that went again.
    SynRetrans = "TCPSynRetrans",
    /// Fast recoveries by SACK.
    SackRecovery = "TCPSackRecovery",
    /// And without.
    RenoRecovery = "TCPRenoRecovery",
    /// Timeouts in fast recovery by SACK.
    SackRecoveryFail = "TCPSackRecoveryFail",
    /// And without.
    RenoRecoveryFail = "TCPRenoRecoveryFail",
    /// Timeouts after a timeout.
    LossFailures = "TCPLossFailures",
    /// Timeouts where something was reported.
    SackFailures = "TCPSackFailures",
    /// Or duplicate ACKs had come.
    RenoFailures = "TCPRenoFailures",
    /// Tail loss probes.
    LossProbes = "TCPLossProbes",
    /// Losses that they repaired.
    LossProbeRecovery = "TCPLossProbeRecovery",
    /// Timeouts that F-RTO found to be none.
    SpuriousRtos = "TCPSpuriousRTOs",
    /// Undone after a timeout.
    LossUndo = "TCPLossUndo",
    /// Undone when all was acknowledged.
    FullUndo = "TCPFullUndo",
    /// Undone by a partial acknowledgment.
    PartialUndo = "TCPPartialUndo",
    /// Undone by reports of duplicates.
    DsackUndo = "TCPDSACKUndo",
    /// The peer threw away what it had reported.
    SackReneging = "TCPSACKReneging",
    /// Reordering seen by SACKs.
    SackReorder = "TCPSACKReorder",
    /// By a partial acknowledgment of what was late.
    TsReorder = "TCPTSReorder",
    /// By duplicate ACKs.
    RenoReorder = "TCPRenoReorder",
    /// Duplicates reported below the ACK.
    DsackRecv = "TCPDSACKRecv",
    /// And beyond it.
    DsackOfoRecv = "TCPDSACKOfoRecv",
    /// Not believed.
    DsackIgnoredDubious = "TCPDSACKIgnoredDubious",
    /// Of before the window was reduced.
    DsackIgnoredOld = "TCPDSACKIgnoredOld",
    /// Where it was not, or may not be undone.
    DsackIgnoredNoUndo = "TCPDSACKIgnoredNoUndo",
    /// Blocks of nonsense.
    SackDiscard = "TCPSACKDiscard",
    /// Duplicates told of: below RCV.NXT.
    DsackOldSent = "TCPDSACKOldSent",
    /// And beyond.
    DsackOfoSent = "TCPDSACKOfoSent",
    /// ACKs that the timer sent.
    DelayedAcks = "DelayedACKs",
    /// Segments that came again whole.
    DelayedAckLost = "DelayedACKLost",
    /// ACKs held back by SACK compression.
    AckCompressed = "TCPAckCompressed",
    /// Segments that came out of order.
    OfoQueue = "TCPOFOQueue",
    /// Of them, or of what was held, which the other covers whole.
    OfoMerge = "TCPOFOMerge",
    /// Keepalive's probes.
    KeepAlive = "TCPKeepAlive",
    /// Probes of a closed window.
    WinProbe = "TCPWinProbe",
    /// Closed by SO_LINGER's zero, or data came when nobody read.
    AbortOnData = "TCPAbortOnData",
    /// Closed with data unread.
    AbortOnClose = "TCPAbortOnClose",
    /// Given up.
    AbortOnTimeout = "TCPAbortOnTimeout",
    /// TCP_LINGER2 below zero.
    AbortOnLinger = "TCPAbortOnLinger",
    /// Segments that failed PAWS.
    PawsEstab = "PAWSEstab",
    /// Old ACKs that did.
    PawsOldAck = "PAWSOldAck",
    /// SYNs in a connection.
    SynChallenge = "TCPSYNChallenge",
    /// The window told closed.
    ToZeroWindowAdv = "TCPToZeroWindowAdv",
    /// And opened.
    FromZeroWindowAdv = "TCPFromZeroWindowAdv",
    /// It would have closed, but must not shrink.
    WantZeroWindowAdv = "TCPWantZeroWindowAdv",
    /// What came into a closed window.
    ZeroWindowDrop = "TCPZeroWindowDrop",
    /// Segments beyond the window.
    BeyondWindow = "BeyondWindow",
    /// Handshakes that a RST or another SYN ended; /proc/net/snmp has them.
    AttemptFails = "AttemptFails",
    /// Those of them that had no socket yet, and those that were refused.
    EmbryonicRsts = "EmbryonicRsts",
    /// ACKs of handshakes that wait for data.
    DeferAcceptDrop = "TCPDeferAcceptDrop",
    /// SYNs answered by cookies, for the queue is full.
    ReqQFullDoCookies = "TCPReqQFullDoCookies",
    /// And dropped.
    ReqQFullDrop = "TCPReqQFullDrop",
    /// Clients that asked for a cookie.
    FastOpenCookieReqd = "TCPFastOpenCookieReqd",
    /// Those whose cookie is of the older key.
    FastOpenPassiveAltKey = "TCPFastOpenPassiveAltKey",
    /// Connections in TIME_WAIT, or that wait for a FIN without a socket.
    Tw = "TW",
    /// Those that do for four seconds at most.
    TwKilled = "TWKilled",
    /// Those that gave way to a new connection.
    TwRecycled = "TWRecycled",
    /// ACKs that were not sent, for there had been one: in SYN_RECEIVED,
    SkippedSynRecv = "TCPACKSkippedSynRecv",
    /// for old timestamps,
    SkippedPaws = "TCPACKSkippedPAWS",
    /// for numbers out of the window,
    SkippedSeq = "TCPACKSkippedSeq",
    /// in FIN_WAIT_2 without a socket,
    SkippedFinWait2 = "TCPACKSkippedFinWait2",
    /// in TIME_WAIT,
    SkippedTimeWait = "TCPACKSkippedTimeWait",
    /// or of challenges.
    SkippedChallenge = "TCPACKSkippedChallenge",
    /// Slow starts that HyStart ended.
    HystartDelayDetect = "TCPHystartDelayDetect",
    /// Probes of the path's MTU that were lost.
    MtupFail = "TCPMTUPFail",
    /// And that were not.
    MtupSuccess = "TCPMTUPSuccess",
}

/// So many, from the first on, may come more than 255 at a time.
const WIDE: usize = Mib::DsackRecvSegs as usize + 1;

/// What a connection noted since its host looked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Noted {
    wide: [u16; WIDE],
    narrow: [u8; COUNT - WIDE],
    any_wide: bool,
    any_narrow: bool,
}

impl Noted {
    /// Nothing.
    pub const NONE: Noted = Noted {
        wide: [0; WIDE],
        narrow: [0; COUNT - WIDE],
        any_wide: false,
        any_narrow: false,
    };

    /// It happened `n` times more.
    pub(super) fn add(&mut self, what: Mib, n: u32) {
        if n == 0 {
            return;
        }
        let at = what as usize;
        if let Some(count) = self.wide.get_mut(at) {
            *count = count.saturating_add(u16::try_from(n).unwrap_or(u16::MAX));
            self.any_wide = true;
        } else if let Some(count) = self.narrow.get_mut(at - WIDE) {
            *count = count.saturating_add(u8::try_from(n).unwrap_or(u8::MAX));
            self.any_narrow = true;
        }
    }

    /// Once more.
    pub(super) fn note(&mut self, what: Mib) {
        self.add(what, 1);
    }
}

/// A host's sums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Sums([u64; COUNT]);

impl Default for Sums {
    fn default() -> Sums {
        Sums([0; COUNT])
    }
}

impl Sums {
    /// Add what a connection noted: mostly segments and their ACKs, so the rest is looked at only
    /// where there is something.
    pub fn add(&mut self, noted: &Noted) {
        let (wide, narrow) = self.0.split_at_mut(WIDE);
        for (sum, &n) in wide.iter_mut().zip(&noted.wide) {
            *sum = sum.wrapping_add(n.into());
        }
        if noted.any_narrow {
            for (sum, &n) in narrow.iter_mut().zip(&noted.narrow) {
                *sum = sum.wrapping_add(n.into());
            }
        }
    }

    /// It happened once more, to no connection.
    pub fn note(&mut self, what: Mib) {
        if let Some(sum) = self.0.get_mut(what as usize) {
            *sum = sum.wrapping_add(1);
        }
    }

    /// One of them.
    pub fn get(&self, what: Mib) -> u64 {
        self.0.get(what as usize).copied().unwrap_or(0)
    }

    /// The one with Linux's name.
    pub fn named(&self, name: &str) -> Option<u64> {
        Mib::ALL
            .into_iter()
            .find(|m| m.name() == name)
            .map(|m| self.get(m))
    }
}

impl super::Tcb {
    /// What happened since the last time, if anything did.
    pub fn take_noted(&mut self) -> Option<Noted> {
        let any = self.noted.any_wide || self.noted.any_narrow;
        any.then(|| core::mem::replace(&mut self.noted, Noted::NONE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_have_what_was_noted() {
        let (mut sums, mut noted) = (Sums::default(), Noted::NONE);
        for (i, what) in Mib::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, i);
            noted.add(what, i as u32 % 200);
        }
        sums.add(&noted);
        sums.add(&noted);
        sums.note(Mib::TwRecycled);
        for (i, what) in Mib::ALL.into_iter().enumerate() {
            let once_more = u64::from(what == Mib::TwRecycled);
            assert_eq!(
                sums.named(what.name()),
                Some(i as u64 % 200 * 2 + once_more)
            );
        }
        assert_eq!(sums.named("TCPHPHits"), None);
        // More at once than there is room for.
        noted.add(Mib::Timeouts, 300);
        noted.add(Mib::Delivered, 300);
        let mut sums = Sums::default();
        sums.add(&noted);
        assert_eq!(
            (sums.get(Mib::Timeouts), sums.get(Mib::Delivered)),
            (255, 300)
        );
    }
}

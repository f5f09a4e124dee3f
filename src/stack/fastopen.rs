//! TCP Fast Open (RFC 7413), the host's part: cookies that servers gave us, cookies that we give,
//! and which listeners hand out connections before their handshakes are complete.

use super::queue::{Pools, Queue};
use super::{Error, Host, Result, Shared, SockId};
use crate::addr::{Addr, Endpoint};
use crate::tcp::mib::Mib;
use crate::tcp::{Cookie, MAX_COOKIE, Segment, State};
use crate::time::Instant;
use core::hash::Hasher;
use siphasher::sip::SipHasher24;

/// `net.ipv4.tcp_fastopen`.
pub mod setting {
    /// Clients may send data on a SYN.
    pub const CLIENT: u32 = 1;
    /// Listeners may be asked for it (TCP_FASTOPEN).
    pub const SERVER: u32 = 2;
    /// Clients need no cookie.
    pub const CLIENT_NO_COOKIE: u32 = 4;
    /// Listeners ask for no cookie.
    pub const SERVER_COOKIE_NOT_REQUIRED: u32 = 0x200;
    /// Every listener has it.
    pub const ALL_LISTENERS: u32 = 0x400;
}

/// Servers that are remembered; one more takes the place of the one used least lately.
const SERVERS: usize = 128;
/// TCP options that middleboxes may add: Linux leaves room for as many as there can be.
const OPTION_SPACE: u16 = 40;
/// The length of our cookies (Linux: `TCP_FASTOPEN_COOKIE_SIZE`).
const COOKIE_LEN: u8 = 8;

/// What is known of a server.
// RFC 7413 S4.1.3-1
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Server {
    addr: Addr,
    known: bool,
    cookie: Cookie,
    /// What its SYN+ACK told.
    mss: u16,
    /// Whether the experiment's option was asked by, too.
    tried: Tried,
    used: Instant,
}

/// What a server without a cookie is asked by (Linux: `try_exp`): the option, once the
/// experiment's, then the option for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
enum Tried {
    #[default]
    Nothing,
    Option,
    Both,
}

/// Cookies that servers gave us.
#[derive(Debug)]
#[repr(C)]
pub struct Servers([Server; SERVERS]);

impl Servers {
    fn find(&mut self, addr: Addr) -> Option<&mut Server> {
        self.0.iter_mut().find(|s| s.known && s.addr == addr)
    }

    /// The place of a server, made if there is none.
    fn place(&mut self, addr: Addr) -> Option<&mut Server> {
        let at = self.0.iter().position(|s| s.known && s.addr == addr);
        let at = match at {
            Some(at) => at,
            None => {
                let by_use = |at: &usize| (self.0[*at].known, self.0[*at].used);
                let at = (0..SERVERS).min_by_key(by_use)?;
                self.0[at] = Server {
                    addr,
                    known: true,
                    ..Server::default()
                };
                at
            }
        };
        self.0.get_mut(at)
    }
}

/// What a SYN is to say.
struct FastSyn {
    /// Its option: none where no cookie is needed, or Fast Open pauses.
    option: Option<Cookie>,
    /// It may carry data.
    carries: bool,
    /// The MSS that is known; without one the path's counts, as in Linux.
    mss: Option<u16>,
    /// Fast Open has paused.
    after_pause: bool,
}

impl Shared {
    /// What a SYN of the socket to `to` is to say.
    // RFC 7413 S4.2.1-1, S4.2.2-2
    fn fast_syn_to(&mut self, to: Addr, now: Instant, index: u32) -> FastSyn {
        let known = self.fast_servers.find(to);
        let mss = known.as_ref().map(|k| k.mss).filter(|&mss| mss > 0);
        let cookie = known.map_or(Cookie::default(), |k| {
            k.used = now;
            k.cookie
        });
        let s = &self.sockets[index];
        let no_cookie = s.needs_no_cookie();
        let setting = s.sysctl.tcp_fastopen_blackhole_timeout_sec;
        let (pauses, after_pause) = self.fast_open_pauses(setting, now);
        FastSyn {
            option: (!pauses && !no_cookie).then_some(cookie),
            carries: !pauses && (no_cookie || cookie.len > 0),
            mss,
            after_pause,
        }
    }

    /// The key of a listener that was given none.
    fn fast_key(&self) -> [u8; 16] {
        let half = |n: u8| {
            let mut hash = SipHasher24::new_with_key(&self.secret);
            hash.write(b"fast open");
            hash.write_u8(n);
            hash.finish().to_le_bytes()
        };
        let mut key = [0; 16];
        key[..8].copy_from_slice(&half(0));
        key[8..].copy_from_slice(&half(1));
        key
    }
}

/// The cookie for a client (Linux: `__tcp_fastopen_cookie_gen_cipher`).
// RFC 7413 S4.1.2-1
fn cookie_for(key: [u8; 16], local: Addr, remote: Addr) -> Cookie {
    let mut hash = SipHasher24::new_with_key(&key);
    if let (core::net::IpAddr::V4(src), core::net::IpAddr::V4(dst)) = (remote.ip(), local.ip()) {
        hash.write(&src.octets());
        hash.write(&dst.octets());
    } else {
        hash.write(&remote.0);
        hash.write(&local.0);
    }
    let mut bytes = [0; MAX_COOKIE];
    bytes[..8].copy_from_slice(&hash.finish().to_le_bytes());
    Cookie {
        len: COOKIE_LEN,
        bytes,
        experimental: false,
    }
}

/// What a listener does about a SYN.
pub(super) enum Fast {
    /// The usual handshake.
    No,
    /// That, and a cookie for the next time.
    Grant(Cookie),
    /// The program may have the connection now; its cookie was an older one, and here is a newer.
    Open(Option<Cookie>),
}

impl Host<'_> {
    /// TCP_FASTOPEN_KEY: the key of a listener's cookies, and an older one that is still good.
    pub fn set_fast_keys(&mut self, id: SockId, keys: [Option<[u8; 16]>; 2]) -> Result<()> {
        let index = self.index_of(id)?;
        self.touch(index);
        self.sh.sockets[index].options.fastopen_keys = keys;
        Ok(())
    }

    /// Whether [`Host::connect_fast`] is possible.
    ///
    /// Errors: [`Error::NotSupported`] where `tcp_fastopen` forbids it; [`Error::Already`] while it
    /// connects; [`Error::IsConnected`].
    pub fn may_connect_fast(&self, id: SockId) -> Result<()> {
        let s = self.socket(id)?;
        if s.sysctl.tcp_fastopen & setting::CLIENT == 0 {
            Err(Error::NotSupported)
        } else if s.connecting {
            Err(Error::Already)
        } else if s.listening || s.was_connected || s.open && s.tcb.state != State::Closed {
            Err(Error::IsConnected)
        } else {
            Ok(())
        }
    }

    /// connect(2) under TCP_FASTOPEN_CONNECT: true if it is put off until the first send, which takes
    /// its data along. Else the connection is being opened, and a cookie asked for.
    pub fn connect_later(&mut self, id: SockId, to: Endpoint) -> Result<bool> {
        self.may_connect_fast(id)?;
        let index = self.index_of(id)?;
        if self.sh.sockets[index].deferred.is_some() {
            return Err(Error::IsConnected);
        }
        if self.sh.fast_syn_to(to.addr, self.now, index).carries {
            self.touch(index);
            self.sh.sockets[index].deferred = Some(to);
            self.notify(index);
            return Ok(true);
        }
        self.connect_fast(id, to, &[], false).map(|_| false)
    }

    /// connect(2) and send(2) in one: the SYN carries what fits of `data`, if the server's cookie is
    /// known. How many bytes were taken; 0 if the SYN only asks for a cookie. The connection is being
    /// opened then, as after [`Host::connect`]. `waits`: the program does, until the rest can be
    /// sent.
    ///
    /// Errors: those of [`Host::connect`]; [`Error::NotSupported`] where `tcp_fastopen` forbids it.
    pub fn connect_fast(
        &mut self,
        id: SockId,
        to: Endpoint,
        data: &[u8],
        waits: bool,
    ) -> Result<usize> {
        self.connect_fast_or_ask(id, to, Some(data), waits)
    }

    /// The same where the data can't be read, if there is none here: the SYN asks for a cookie, though
    /// one is known.
    pub fn connect_fast_or_ask(
        &mut self,
        id: SockId,
        to: Endpoint,
        data: Option<&[u8]>,
        waits: bool,
    ) -> Result<usize> {
        self.may_connect_fast(id)?;
        let index = self.index_of(id)?;
        self.sh.sockets[index].deferred = None;
        let mut syn = self.sh.fast_syn_to(to.addr, self.now, index);
        let readable = data.is_some();
        syn.carries &= readable;
        let data = data.unwrap_or_default();
        self.connect_with(id, to, |host, index| {
            let s = &mut host.sh.sockets[index];
            let known = syn.mss.unwrap_or(u16::MAX);
            let mss = s.tcb.advertised_mss().min(s.tcb.path_mss()).min(known);
            let room = mss.saturating_sub(OPTION_SPACE);
            let n = if syn.carries {
                data.len().min(room.into())
            } else {
                0
            };
            let (send_room, new) = s.send_room(false);
            let n = n.min(send_room as usize);
            let Shared {
                sockets,
                chunks,
                buffers,
                ..
            } = &mut *host.sh;
            let s = &mut sockets[index];
            let copied = s.tx.append(&mut Pools { chunks, buffers }, &data[..n], new);
            s.tcb.app_wrote(host.now, copied as u32);
            let carried = readable.then_some(copied as u32);
            s.tcb.connect_fast(syn.option, carried, syn.mss);
            if syn.after_pause {
                s.tcb.tries_after_pause();
            }
            if waits && copied < data.len() {
                s.tcb.more_waits();
            }
            copied
        })
    }

    /// The SYN of a Fast Open was answered: remember what for.
    // RFC 7413 S4.2.2-5
    pub(super) fn fast_open_answered(&mut self, index: u32) {
        let s = &self.sh.sockets[index];
        let (tried, taken) = (s.tcb.fast_open_tried(), s.tcb.fast_open_data());
        if !s.connecting || tried.is_none() && taken.is_none() {
            return;
        }
        // Linux ignores a cookie that nobody asked for.
        let got = s.tcb.received_cookie().filter(|_| tried.is_some());
        let (addr, mss) = (s.remote.addr, s.tcb.mss_told());
        let (now, repeated) = (self.now, s.tcb.syn_was_repeated());
        self.sh.counters.fastopen_active += u64::from(taken == Some(true));
        self.sh.counters.fastopen_active_fail += u64::from(taken == Some(false));
        if let Some(server) = self.sh.fast_servers.place(addr) {
            if let Some(cookie) = got {
                server.cookie = cookie;
            } else if tried.is_some_and(|t| t.len == 0) && server.cookie.len == 0 && !repeated {
                // It gives none.
                // RFC 7413 S4.1.3.1-1, S4.1.3.1-2
                server.tried = match server.tried {
                    Tried::Nothing => Tried::Option,
                    _ => Tried::Both,
                };
                server.cookie.experimental = server.tried == Tried::Option;
            }
            (server.mss, server.used) = (mss, now);
        }
    }

    /// Whether the program may have the connection that `syn` opens at once (Linux:
    /// `tcp_try_fastopen`).
    // RFC 7413 S2-1, S4.2-1
    pub(super) fn fast_open_asked(
        &mut self,
        listener: u32,
        local: Endpoint,
        remote: Endpoint,
        syn: &Segment,
    ) -> Fast {
        let l = &self.sh.sockets[listener];
        let settings = l.sysctl.tcp_fastopen;
        let asked = syn.options.fastopen;
        if asked.is_some_and(|c| c.len == 0) {
            self.sh.counters.mib.note(Mib::FastOpenCookieReqd);
        }
        let wanted = asked.is_some() || syn.len > 0;
        if settings & setting::SERVER == 0 || !wanted || !self.fast_queue_has_room(listener) {
            return Fast::No;
        }
        let l = &self.sh.sockets[listener];
        if settings & setting::SERVER_COOKIE_NOT_REQUIRED != 0 || l.tcp_options.fastopen_no_cookie {
            return Fast::Open(None);
        }
        let Some(asked) = asked else { return Fast::No };
        let [first, old] = match l.options.fastopen_keys {
            [None, _] => l.sysctl.tcp_fastopen_key,
            own => own,
        };
        let key = first.unwrap_or_else(|| self.sh.fast_key());
        let good = cookie_for(key, local.addr, remote.addr);
        let older = old.map(|key| cookie_for(key, local.addr, remote.addr));
        let known = |c: &Cookie| asked.len > 0 && asked.as_bytes() == c.as_bytes();
        let grant = Cookie {
            experimental: asked.experimental,
            ..good
        };
        if known(&good) {
            return Fast::Open(None);
        }
        if older.as_ref().is_some_and(known) {
            self.sh.counters.mib.note(Mib::FastOpenPassiveAltKey);
            return Fast::Open(Some(grant));
        }
        self.sh.counters.fastopen_passive_fail += u64::from(asked.len > 0);
        Fast::Grant(grant)
    }

    /// A child in SYN_RECEIVED, with the data of its SYN, goes to the program.
    pub(super) fn open_early(&mut self, child: u32, syn: &Segment, payload: &mut Queue) {
        let parent = self.sh.sockets[child].parent;
        self.take_syn_data(child, syn, payload);
        let s = &mut self.sh.sockets[child];
        (s.was_connected, s.early) = (true, true);
        self.count_fast(parent, 1);
        self.sh.counters.fastopen_passive += 1;
        self.queue_child(child);
    }

    /// An early connection's handshake is complete, or it has failed: it doesn't count any more.
    pub(super) fn no_longer_early(&mut self, index: u32) {
        let s = &mut self.sh.sockets[index];
        if !core::mem::take(&mut s.early) {
            return;
        }
        let parent = s.parent;
        if !s.embryonic {
            s.parent = SockId::default();
        }
        self.count_fast(parent, -1);
    }
}

impl super::Socket {
    /// Data may go on a SYN without a cookie.
    fn needs_no_cookie(&self) -> bool {
        self.tcp_options.fastopen_no_cookie
            || self.sysctl.tcp_fastopen & setting::CLIENT_NO_COOKIE != 0
    }
}

/// listen(2) where `tcp_fastopen` switches every listener on (Linux: `__inet_listen_sk`).
pub(super) fn at_every_listener(s: &mut super::Socket) {
    let both = setting::SERVER | setting::ALL_LISTENERS;
    if s.sysctl.tcp_fastopen & both == both && s.options.fastopen == 0 {
        s.options.fastopen = s.backlog;
    }
}

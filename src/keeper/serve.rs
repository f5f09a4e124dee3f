//! The keeper at work: one thread, one epoll descriptor, no allocation for a packet.

use super::far::{Far, Fars};
use super::mirrors::Mirrors;
use super::protocol::{Hello, Request};
use super::start::device_number;
use super::sweep::{INTERVAL, Sweep, is_gone};
use super::watch::{Duty, Watch};
use crate::arena::Arena;
use crate::impair::Way;
use crate::link::{Mode, Tun};
use crate::runtime::{KEEPER, Runtime};
use crate::stack::{Host, SockId};
use crate::sys::{self, Errno, Fd, bell, io, process, unix};
use crate::time::{Duration, Instant};
use libc::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLIN, EPOLLRDHUP};

/// What a keeper starts with.
pub struct Parts {
    /// Bound and listening.
    pub listener: Fd,
    /// The stack.
    pub runtime: Runtime,
    /// Its arena, to hand out.
    pub memfd: Fd,
    /// How packets stand on the device, if there is one.
    pub mode: Option<Mode>,
    /// Keeps the device's number.
    pub number: Option<Fd>,
    /// Another keeper had the stack before.
    pub adopted: bool,
}

/// The keeper, ready to serve.
pub struct Keeper {
    parts: Parts,
    epoll: Fd,
    bell: Fd,
    /// The connections, at their descriptors' numbers.
    conns: Vec<Option<Fd>>,
    conn_count: usize,
    /// Processes that share a connection, at their descriptors' numbers.
    processes: Vec<Option<Fd>>,
    fars: Fars,
    watch: Watch,
    sweep: Sweep,
    mirrors: Mirrors,
    /// The device was removed, which the stack is to be told.
    lost_device: bool,
    /// The sockets' far ends died with the keeper before us.
    lost_fars: bool,
    /// Far ends that may be gone: how often the name was asked for, and when to ask again.
    unsure: Vec<(SockId, usize, Instant)>,
    /// Sockets whose last reference is gone, to be closed as soon as the lock is to be had.
    to_close: Vec<SockId>,
    /// The lock was not to be had, or there is more to do than one turn does.
    again: bool,
    /// When to go if nobody has come by then.
    patience: Instant,
}

/// How long a keeper waits for the process that started it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for the lock before looking after other things again.
const LOCK_PATIENCE: Duration = Duration::from_millis(50);
/// When to ask again for a name that was taken, though it may be free.
const UNSURE: [Duration; 3] = [
    Duration::from_millis(2),
    Duration::from_millis(30),
    Duration::from_millis(500),
];
/// Messages to take from one connection in one turn.
const MESSAGES: usize = 64;

/// What an epoll event is about: this in the upper half of its data, a descriptor below.
mod about {
    pub const LISTENER: u64 = 1;
    pub const BELL: u64 = 2;
    pub const DEVICE: u64 = 3;
    pub const CONN: u64 = 4;
    pub const FAR: u64 = 5;
    pub const PROCESS: u64 = 6;
}

impl Keeper {
    /// Set up what is still missing.
    pub fn new(parts: Parts) -> sys::Result<Keeper> {
        let bell = bell::hang(&parts.runtime.bell_name(KEEPER))?;
        let mut keeper = Keeper {
            epoll: io::epoll()?,
            bell,
            conns: Vec::new(),
            conn_count: 0,
            processes: Vec::new(),
            fars: Fars::default(),
            watch: Watch::new(sys::now()),
            sweep: Sweep::default(),
            mirrors: Mirrors::new(),
            lost_device: false,
            lost_fars: parts.adopted,
            unsure: Vec::new(),
            to_close: Vec::new(),
            again: true,
            patience: sys::now() + PATIENCE,
            parts,
        };
        let listener = keeper.parts.listener.raw();
        keeper.poll_for(EPOLL_CTL_ADD, about::LISTENER, listener, EPOLLIN)?;
        keeper.poll_for(EPOLL_CTL_ADD, about::BELL, keeper.bell.raw(), EPOLLIN)?;
        keeper.add_device()?;
        if keeper.lost_fars {
            keeper.sweep.after_an_end(sys::now());
        }
        Ok(keeper)
    }

    /// Serve until nobody is left.
    pub fn serve(mut self) -> ! {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
        loop {
            let timeout = self.timeout();
            let count = io::epoll_wait(&self.epoll, &mut events, timeout).unwrap_or(0);
            let mut rang = false;
            for event in events.iter().take(count) {
                let (data, flags) = (event.u64, event.events);
                let fd = data as u32 as i32;
                match data >> 32 {
                    about::LISTENER => self.accept(),
                    about::BELL => {
                        while unix::recv(self.bell.raw(), &mut [0; 8], libc::MSG_DONTWAIT).is_ok() {
                        }
                        rang = true;
                    }
                    about::CONN => self.hear(fd, flags),
                    about::DEVICE if flags & !(EPOLLIN as u32) != 0 => self.lose_device(),
                    about::FAR => self.far_ended(fd),
                    about::PROCESS => self.process_ended(fd),
                    _ => {}
                }
            }
            self.turn(rang);
            if self.conn_count == 0 && self.is_over() {
                self.end();
            }
        }
    }

    /// One turn of the duty: drive, or see that somebody does; close and mirror what is due.
    fn turn(&mut self, rang: bool) {
        let now = sys::now();
        if !self.unsure.is_empty() {
            self.make_sure(now);
        }
        let duty = self.watch.look(&self.parts.runtime, now);
        if duty.changed {
            self.arm_device(duty.drives);
        }
        let due = duty.drives || duty.enter || rang || self.again || !self.to_close.is_empty();
        self.again = false;
        if due {
            self.enter(duty);
        }
        if self.sweep.is_due(now) {
            let Keeper {
                sweep,
                parts,
                fars,
                to_close,
                ..
            } = self;
            sweep.run(&parts.runtime, fars, to_close, now);
            for i in 0..self.to_close.len() {
                if let Some(far) = self.fars.of(self.to_close[i]) {
                    let fd = far.fd.raw();
                    self.drop_far(fd);
                }
            }
            self.again |= !self.to_close.is_empty();
        }
    }

    /// Take the lock: packets and timers when we drive, closes and mirrors in any case.
    fn enter(&mut self, duty: Duty) {
        let Keeper {
            parts,
            fars,
            watch,
            to_close,
            mirrors,
            sweep,
            epoll,
            lost_fars,
            lost_device,
            ..
        } = self;
        mirrors.look_after(sys::now());
        let end = sys::now() + LOCK_PATIENCE;
        let Some(mut host) = parts.runtime.enter_until(end, duty.drives) else {
            self.again = true;
            return;
        };
        if core::mem::take(lost_fars) {
            forget_far_ends(&mut host, fars);
        }
        if core::mem::take(lost_device) {
            host.sh.device_is_gone();
        }
        for id in to_close.drain(..) {
            host.close(id);
        }
        // Under the lock: a program that lowers what we raise does so under it too.
        mirrors.deferred(&mut host, fars);
        let more = mirrors.queued(&mut host, fars);
        // Closed is shown, so this too is done under the lock.
        while let Some(fd) = mirrors.next_to_drop() {
            if let Some(far) = fars.remove(fd) {
                let _ = io::epoll_ctl(epoll, EPOLL_CTL_DEL, far.fd.raw(), 0, 0);
            }
            // Without a far end, only the name tells when the last reference goes.
            sweep.soon(sys::now() + Duration::from_secs(1));
        }
        if duty.drives {
            watch.before_sleep(&parts.runtime, &host);
        }
        drop(host);
        self.again = more;
    }

    /// A process wants to attach.
    fn accept(&mut self) {
        loop {
            let conn = match unix::accept(self.parts.listener.raw(), true) {
                Ok(conn) => conn,
                Err(Errno(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)) => {
                    // It stays in the queue; don't spin on it.
                    io::sleep(Duration::from_millis(1));
                    return;
                }
                Err(Errno(libc::EINTR | libc::ECONNABORTED)) => continue,
                Err(_) => return,
            };
            let peer = unix::peer(conn.raw());
            if peer.is_ok_and(|peer| peer.uid == process::euid()) && self.greet(&conn).is_ok() {
                self.keep_conn(conn);
            }
        }
    }

    fn greet(&self, conn: &Fd) -> sys::Result<()> {
        let runtime = &self.parts.runtime;
        let hello = Hello::new(runtime.nonce(), self.parts.mode);
        let mut fds = [self.parts.memfd.raw(), -1];
        let count = match runtime.tun_fd() {
            Some(tun) => {
                fds[1] = tun;
                2
            }
            None => 1,
        };
        unix::send(
            conn.raw(),
            &hello.to_bytes(),
            fds.get(..count).unwrap_or_default(),
            libc::MSG_DONTWAIT,
        )
        .map(drop)
    }

    fn keep_conn(&mut self, conn: Fd) {
        let fd = conn.raw();
        if self
            .poll_for(EPOLL_CTL_ADD, about::CONN, fd, EPOLLIN | EPOLLRDHUP)
            .is_err()
        {
            return;
        }
        let place = fd as usize;
        if self.conns.len() <= place {
            self.conns.resize_with(place + 1, || None);
        }
        self.conns[place] = Some(conn);
        self.conn_count += 1;
    }

    /// Messages from a process, or its end.
    fn hear(&mut self, fd: i32, flags: u32) {
        let known = |conns: &[Option<Fd>]| {
            usize::try_from(fd).is_ok_and(|i| conns.get(i).is_some_and(Option::is_some))
        };
        if !known(&self.conns) {
            return;
        }
        let mut bytes = [0u8; 64];
        for _ in 0..MESSAGES {
            match unix::recv(fd, &mut bytes, libc::MSG_DONTWAIT) {
                Ok((0, _)) => return self.drop_conn(fd),
                Ok((len, [given, ..])) => {
                    let request = bytes.get(..len).and_then(Request::from_bytes);
                    match (request, given) {
                        (Some(Request::Far(id)), Some(far)) => self.add_far(id, far),
                        (Some(Request::Device(mode)), Some(device)) => {
                            self.adopt_device(Tun::from_fd(device, mode));
                        }
                        (Some(Request::Process), Some(process)) => self.add_process(process),
                        _ => {}
                    }
                }
                Err(Errno(libc::EINTR)) => {}
                Err(Errno(libc::EAGAIN)) => {
                    if flags & (libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0 {
                        self.drop_conn(fd);
                    }
                    return;
                }
                Err(_) => return self.drop_conn(fd),
            }
        }
    }

    /// The last process that had this connection is gone, or has become another program.
    fn drop_conn(&mut self, fd: i32) {
        let place = usize::try_from(fd).ok();
        if let Some(conn) = place.and_then(|i| self.conns.get_mut(i)?.take()) {
            drop(conn);
            self.conn_count -= 1;
        }
        self.somebody_ended();
    }

    fn somebody_ended(&mut self) {
        let now = sys::now();
        self.sweep.after_an_end(now);
        self.watch.suspect(now);
        // It may have been about to ring us.
        self.again = true;
    }

    /// A process whose end its connection won't tell.
    fn add_process(&mut self, process: Fd) {
        let fd = process.raw();
        if self
            .poll_for(EPOLL_CTL_ADD, about::PROCESS, fd, EPOLLIN)
            .is_err()
        {
            return;
        }
        let place = fd as usize;
        if self.processes.len() <= place {
            self.processes.resize_with(place + 1, || None);
        }
        self.processes[place] = Some(process);
    }

    fn process_ended(&mut self, fd: i32) {
        let place = usize::try_from(fd).ok();
        if let Some(process) = place.and_then(|i| self.processes.get_mut(i)?.take()) {
            drop(process);
            self.somebody_ended();
        }
    }

    fn add_far(&mut self, id: SockId, fd: Fd) {
        // What was left for it can be raised now.
        self.again = true;
        let raw = fd.raw();
        if let Some(old) = self.fars.add(id, fd) {
            self.let_go(old);
        }
        // HUP is always reported. Should this fail, the sweep finds the socket's end.
        let events = EPOLLRDHUP | libc::EPOLLET;
        if self
            .poll_for(EPOLL_CTL_ADD, about::FAR, raw, events)
            .is_err()
        {
            self.fars.remove(raw);
            self.sweep.soon(sys::now() + Duration::from_secs(1));
        }
    }

    /// A far end says that its near end is gone.
    fn far_ended(&mut self, fd: i32) {
        let Some(far) = self.fars.at(fd) else { return };
        let id = far.id;
        // We hear HUP too of an end that was shut down, by us or by a program that holds it; and
        // the event may be of an end that had this number before. So the name decides.
        if !is_gone(&self.parts.runtime, id) {
            // Or somebody else was just asking the same, and had the name for that moment.
            self.unsure.push((id, 0, sys::now() + UNSURE[0]));
            return;
        }
        self.far_is_gone(fd, id);
    }

    fn far_is_gone(&mut self, fd: i32, id: SockId) {
        self.drop_far(fd);
        self.to_close.push(id);
        self.watch.suspect(sys::now());
    }

    /// Ask again for those of which it was not sure that they are gone.
    fn make_sure(&mut self, now: Instant) {
        let mut still = core::mem::take(&mut self.unsure);
        still.retain_mut(|(id, tries, at)| {
            let Some(fd) = self.fars.of(*id).map(|far| far.fd.raw()) else {
                return false;
            };
            if now < *at {
                return true;
            }
            if is_gone(&self.parts.runtime, *id) {
                self.far_is_gone(fd, *id);
                return false;
            }
            *tries += 1;
            UNSURE.get(*tries).is_some_and(|after| {
                *at = now + *after;
                true
            })
        });
        self.unsure = still;
    }

    fn drop_far(&mut self, fd: i32) {
        if let Some(far) = self.fars.remove(fd) {
            self.let_go(far);
        }
    }

    /// A program may have the same end open, so closing ours would not end the polling.
    fn let_go(&self, far: Far) {
        let _ = self.poll_for(EPOLL_CTL_DEL, about::FAR, far.fd.raw(), 0);
    }

    /// Somebody removed the device.
    fn lose_device(&mut self) {
        if let Some(tun) = self.parts.runtime.tun_fd() {
            let _ = self.poll_for(EPOLL_CTL_DEL, about::DEVICE, tun, 0);
        }
        self.lost_device = true;
        self.again = true;
    }

    /// After the keeper before us died, a program brings the device.
    fn adopt_device(&mut self, tun: Tun) {
        if self.parts.mode.is_some() {
            return;
        }
        let Ok(arena) = Arena::attach(&self.parts.memfd) else {
            return;
        };
        let (mode, number) = (tun.mode(), device_number(&tun));
        if let Ok(runtime) = Runtime::over(arena, Some(tun)) {
            self.parts.runtime = runtime;
            self.parts.mode = Some(mode);
            self.parts.number = number;
            let _ = self.add_device();
        }
    }

    /// Nobody uses the stack any more.
    fn is_over(&mut self) -> bool {
        let now = sys::now();
        if now < self.patience && !self.watch.served {
            return false;
        }
        if self.fars.len() > 0 {
            self.sweep.soon(now + INTERVAL);
            return false;
        }
        if !self.to_close.is_empty() || self.again {
            return false;
        }
        let host = self.parts.runtime.enter_until(now + LOCK_PATIENCE, false);
        // What is on its way out arrives, as on any wire.
        let busy = |h: &Host<'_>| h.sh.sockets.in_use() > 0 || h.sh.links.stats(Way::Out).1 > 0;
        if host.is_none_or(|host| busy(&host)) {
            return false;
        }
        // Who came meanwhile is served; who comes later finds that we went away before the
        // hello, and starts another keeper.
        self.accept();
        self.conn_count == 0
    }

    /// The device goes before the names, so that the next keeper finds its number free.
    fn end(self) -> ! {
        let Keeper { parts, fars, .. } = self;
        let Parts {
            listener,
            runtime,
            memfd,
            number,
            ..
        } = parts;
        drop((runtime, memfd, fars));
        drop(number);
        drop(listener);
        process::exit(0)
    }

    /// How long to sleep, for epoll.
    fn timeout(&mut self) -> Option<Duration> {
        if self.again {
            return Some(Duration::from_millis(1));
        }
        let mut until = self.watch.until().min(self.sweep.next());
        for (_, _, at) in &self.unsure {
            until = until.min(*at);
        }
        if self.conn_count == 0 && !self.watch.served {
            until = until.min(self.patience);
        }
        (until != Instant::NEVER).then(|| until.since(sys::now()))
    }

    fn add_device(&self) -> sys::Result<()> {
        match self.parts.runtime.tun_fd() {
            Some(tun) => {
                let events = if self.watch.drives() { EPOLLIN } else { 0 };
                self.poll_for(EPOLL_CTL_ADD, about::DEVICE, tun, events)
            }
            None => Ok(()),
        }
    }

    fn arm_device(&self, on: bool) {
        if let Some(tun) = self.parts.runtime.tun_fd() {
            let events = if on { EPOLLIN } else { 0 };
            let _ = self.poll_for(EPOLL_CTL_MOD, about::DEVICE, tun, events);
        }
    }

    fn poll_for(&self, operation: i32, about: u64, fd: i32, events: i32) -> sys::Result<()> {
        let data = about << 32 | u64::from(fd as u32);
        io::epoll_ctl(&self.epoll, operation, fd, events as u32, data)
    }
}

/// Sockets whose far ends are nowhere can't be mirrored to any more: not until a program makes
/// them a new one. Those that a program holds too it goes on raising itself.
fn forget_far_ends(host: &mut Host<'_>, fars: &Fars) {
    for index in 1..=host.sh.sockets.high_water() {
        if let Some(socket) = host.sh.sockets.get_mut(index) {
            let id = SockId {
                index,
                generation: socket.generation,
            };
            socket.has_far &= socket.watcher != 0 || fars.has(id);
        }
    }
}

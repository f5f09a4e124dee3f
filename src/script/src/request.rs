//! System calls as data: what a program asks for and what it gets.

/// A call. Addresses are the bytes of a `sockaddr`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Request {
    Socket {
        domain: i32,
        kind: i32,
        protocol: i32,
    },
    Bind {
        fd: i32,
        addr: Vec<u8>,
    },
    Listen {
        fd: i32,
        backlog: i32,
    },
    Accept {
        fd: i32,
        flags: i32,
    },
    Connect {
        fd: i32,
        addr: Vec<u8>,
    },
    /// read, readv, recv, recvfrom, recvmsg; with room for control messages.
    Recv {
        fd: i32,
        len: usize,
        flags: i32,
        control: usize,
    },
    /// write, writev, send, sendto, sendmsg; to an address, if one is given.
    Send {
        fd: i32,
        data: Vec<u8>,
        /// The lengths of the buffers that it is in; none: it is in one.
        parts: Vec<usize>,
        flags: i32,
        to: Vec<u8>,
    },
    Close {
        fd: i32,
    },
    Shutdown {
        fd: i32,
        how: i32,
    },
    SetOpt {
        fd: i32,
        level: i32,
        name: i32,
        value: Vec<u8>,
    },
    GetOpt {
        fd: i32,
        level: i32,
        name: i32,
        room: usize,
    },
    Fcntl {
        fd: i32,
        cmd: i32,
        arg: i64,
    },
    Ioctl {
        fd: i32,
        request: u64,
        arg: i32,
    },
    Poll {
        fds: Vec<(i32, i16)>,
        timeout_ms: i32,
    },
    EpollCreate {
        flags: i32,
    },
    EpollCtl {
        epoll: i32,
        op: i32,
        fd: i32,
        events: u32,
        data: u64,
    },
    EpollWait {
        epoll: i32,
        most: usize,
        timeout_ms: i32,
    },
    SockName {
        fd: i32,
    },
    PeerName {
        fd: i32,
    },
}

/// What a call gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// Its value; -1 with `errno`.
    pub value: i64,
    /// 0 if it didn't fail.
    pub errno: i32,
    /// What it wrote: data, an address, an option's value.
    pub data: Vec<u8>,
    /// What was ready: events and, of poll, the descriptor, of epoll, its data.
    pub ready: Vec<(u32, u64)>,
    /// Control messages that came, and `msg_flags`.
    pub control: Vec<u8>,
    /// See `control`.
    pub flags: i32,
}

impl Reply {
    /// It worked.
    pub fn value(value: i64) -> Reply {
        Reply {
            value,
            ..Reply::default()
        }
    }
    /// It failed.
    pub fn error(errno: i32) -> Reply {
        Reply {
            value: -1,
            errno,
            ..Reply::default()
        }
    }
    /// It wrote something.
    pub fn data(value: i64, data: Vec<u8>) -> Reply {
        Reply {
            value,
            data,
            ..Reply::default()
        }
    }
}

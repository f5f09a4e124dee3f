//! The stack's state: one value in shared memory, mapped by every process that uses the stack.
//!
//! Plain data throughout: no pointers, no heap. All but [`Open`] is read and written under the
//! arena's lock.

use super::buffers::Buffers;
use super::queue::Chunk;
use super::socket::Socket;
use super::timers::TimerHeap;
use super::wait::{MAX_WAITERS, Waiter};
use crate::addr::Addr;
use crate::arena::Root;
use crate::arena::pool::{Plain, Pool};
use crate::tcp::Sent;
use crate::time::Pace;
use crate::trace::Ring;
use crate::trace::capture::Capture;
use core::sync::atomic::{AtomicU32, AtomicU64};

/// How many sockets a stack can hold, TIME_WAIT included.
pub const MAX_SOCKETS: usize = 1 << 17;
/// How many pieces of queued payload.
pub const MAX_CHUNKS: usize = 1 << 18;
/// How many records of what is in flight: two for each connection, as [`Sent`] wants it.
pub const MAX_SENT: usize = 2 * MAX_SOCKETS + 2;
/// Buckets of the table of connections.
pub const CONN_BUCKETS: usize = 1 << 16;
/// Sockets whose readiness is to be mirrored.
pub const MIRROR_QUEUE: usize = 1 << 12;
/// Sockets that one holder of the lock can change before it gives the lock back.
pub const JOURNAL: usize = 256;

// SAFETY: plain data that is valid when zeroed (see the types' own notes).
#[allow(unsafe_code)]
unsafe impl Plain for Socket {}

/// The part that is used without the lock.
#[repr(C)]
pub struct Open {
    /// The waiter that drives: it polls the device and runs the timers, the keeper need not.
    /// 0: nobody.
    pub driver: AtomicU32,
    /// Counts how often the role was taken.
    pub driver_changes: AtomicU32,
    /// What the keeper does meanwhile; see [`crate::runtime::KeeperMode`].
    pub keeper_mode: AtomicU32,
    /// The keeper's process id; 0: none.
    pub keeper_pid: AtomicU32,
    /// Until when whoever sleeps for the timers (driver or keeper) sleeps, in nanoseconds; 0:
    /// nobody needs to be told of an earlier deadline.
    pub sleeper_deadline: AtomicU64,
}

/// The host's addresses and device.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct HostConfig {
    /// The IPv4 address; any: none.
    pub addr4: Addr,
    /// Its prefix length.
    pub prefix4: u8,
    /// The IPv6 address; any: none.
    pub addr6: Addr,
    /// Its prefix length.
    pub prefix6: u8,
    /// Next hop for other networks (any: none; then they are unreachable unless on the link's
    /// kernel side, which is the default gateway of a TUN).
    pub gateway4: Addr,
    /// The same for IPv6.
    pub gateway6: Addr,
    /// The kernel's number of the device, and its name.
    pub index: u32,
    /// See `index`.
    pub name: [u8; super::devices::NAME],
    /// MTU of the device.
    pub mtu: u16,
    /// There is a device.
    pub has_device: bool,
    /// The device takes TSO and partial checksums.
    pub offload: bool,
}

/// What `netstat -s` counts, as far as it happens here.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Counters {
    pub active_opens: u64,
    pub passive_opens: u64,
    pub attempt_fails: u64,
    pub estab_resets: u64,
    pub in_segs: u64,
    pub out_segs: u64,
    pub retrans_segs: u64,
    pub in_errs: u64,
    pub out_rsts: u64,
    pub in_csum_errors: u64,
    pub listen_drops: u64,
    pub listen_overflows: u64,
    pub syncookies_sent: u64,
    pub syncookies_recv: u64,
    pub syncookies_failed: u64,
    pub no_buffers: u64,
    pub reasm_reqds: u64,
    pub reasm_oks: u64,
    /// `TCPFastOpenPassive`, `TCPFastOpenPassiveFail`.
    pub fastopen_passive: u64,
    /// See above.
    pub fastopen_passive_fail: u64,
    /// `TCPFastOpenActive`, `TCPFastOpenActiveFail`, `TCPFastOpenListenOverflow`,
    /// `TCPFastOpenBlackhole`.
    pub fastopen_active: u64,
    /// See above.
    pub fastopen_active_fail: u64,
    /// See above.
    pub fastopen_listen_overflow: u64,
    /// See above.
    pub fastopen_blackhole: u64,
    /// ICMP about what is not in flight: `OutOfWindowIcmps`.
    pub out_of_window_icmps: u64,
    /// Challenge ACKs.
    pub challenge_acks: u64,
    /// Handshakes' last segments that echoed a timestamp which no SYN+ACK bore.
    pub tsecr_rejected: u64,
    pub reasm_fails: u64,
    pub device_drops: u64,
    pub icmp_in: u64,
    pub icmp_out: u64,
    pub loop_drops: u64,
    /// What connections noted.
    pub mib: crate::tcp::mib::Sums,
    pub recoveries: u64,
    pub recovered_resets: u64,
}

/// See the module.
#[repr(C)]
pub struct Shared {
    /// Used without the lock.
    pub open: Open,
    /// Addresses.
    pub config: HostConfig,
    /// Why there is no device (text, zero-padded), for `utcp addr`.
    pub no_device_why: [u8; 256],
    /// The key of initial sequence numbers.
    pub secret: [u8; 16],
    /// Connections without a program.
    pub tallies: super::Tallies,
    /// Distinguishes this stack's descriptors from those of an earlier stack of the same name.
    pub nonce: u64,
    /// Counters.
    pub counters: Counters,
    /// Counts random numbers.
    pub random_state: u64,
    /// Where the search for a local port goes on.
    pub port_hint: u32,
    /// IPv4 identification.
    pub ip_id: u16,
    /// Order of children in accept queues.
    pub next_generation: u32,
    /// Sockets being changed by the holder of the lock: after a death, they are reset.
    pub journal: [u32; JOURNAL],
    /// How many of `journal` count; more than fit: every socket is suspect.
    pub journal_len: u32,
    /// Sockets.
    pub sockets: Pool<Socket, MAX_SOCKETS>,
    /// Pieces of payload.
    pub chunks: Pool<Chunk, MAX_CHUNKS>,
    /// Payload.
    pub buffers: Buffers,
    /// Records of what is in flight, of all connections.
    pub sent: [Sent; MAX_SENT],
    /// When received payload came.
    pub arrivals: super::arrivals::Arrivals,
    /// Counts what came to error queues.
    pub notices_came: u32,
    /// Error queues, by socket.
    pub error_queues: [super::errqueue::ErrorQueue; MAX_SOCKETS + 1],
    /// Heads of the connection table's buckets.
    pub conn_table: [u32; CONN_BUCKETS],
    /// For each port, the first socket bound to it.
    pub port_table: [u32; 1 << 16],
    /// Segments between sockets of this host that are still to be delivered.
    pub looped: super::output::LoopQueue,
    /// Sockets that wait for room there.
    pub tx_waiting: super::output::TxWaiting,
    /// Settings of IP and ICMP.
    pub ip: super::IpSettings,
    /// What was learnt of paths.
    pub paths: super::paths::Paths,
    /// ICMP messages that may still be sent.
    pub icmp: super::icmp::IcmpBudget,
    /// Challenge ACKs that may still be sent.
    pub challenges: super::challenges::Challenges,
    /// Cookies that servers gave us.
    pub fast_servers: super::fastopen::Servers,
    /// Whether Fast Open pauses.
    pub fast_pause: super::fastguard::Pause,
    /// Connections opened by it that were reset.
    pub fast_resets: super::fastguard::Resets,
    /// Packets that came in pieces, not complete yet.
    pub fragments: super::fragments::Fragments,
    /// Deadlines.
    pub timers: TimerHeap,
    /// How the stack's time goes.
    pub pace: Pace,
    /// Links on which packets take the long way: impaired ones, and all while somebody
    /// captures. See [`super::attention`].
    pub attention: u32,
    /// The modelled links.
    pub links: super::Links,
    /// Packets for a capture.
    pub capture: Capture,
    /// Threads that wait.
    pub waiters: Pool<Waiter, MAX_WAITERS>,
    /// By process: a waiter that sleeps in poll or epoll; see [`super::wait`].
    pub sleepers: [super::wait::Sleeper; super::wait::SLEEPERS],
    /// A ring of sockets whose readiness is to be mirrored (`SockId::index`).
    pub mirror_queue: [u32; MIRROR_QUEUE],
    /// Where the ring starts.
    pub mirror_head: u32,
    /// How many it holds.
    pub mirror_len: u32,
    /// Trace.
    pub trace: Ring,
}

/// Of what the fields mean: to be raised when that changes and no size does, so that programs of
/// two days' libraries don't share a stack.
const REVISION: u64 = 1;

// SAFETY: every field is plain data without pointers whose all-zero pattern is a valid, empty value.
#[allow(unsafe_code)]
unsafe impl Root for Shared {
    const LAYOUT: u64 = REVISION << 48
        | (core::mem::size_of::<Shared>() as u64) << 16
        | core::mem::size_of::<Socket>() as u64;
}

impl Shared {
    /// There is no device, or it lacks something; say why, for `utcp addr`. A text that is too
    /// long is cut, but not within a character.
    pub fn explain_device(&mut self, why: &str) {
        let field = &mut self.no_device_why;
        let mut end = why.len().min(field.len() - 1);
        while !why.is_char_boundary(end) {
            end -= 1;
        }
        field.fill(0);
        for (to, from) in field.iter_mut().zip(why.bytes().take(end)) {
            *to = from;
        }
    }

    /// Somebody removed the device.
    pub fn device_is_gone(&mut self) {
        self.config.has_device = false;
        self.explain_device(
            "the TUN device was removed; the stack gets a new one when all programs that use it \
             have ended",
        );
    }
}

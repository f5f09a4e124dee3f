//! IPv4's options (RFC 791, section 3.1): which lists are good, what those that pass them on write
//! into them, and what answers them. After Linux's `net/ipv4/ip_options.c`.
//!
//! A list is kept as the program gave it (or would have), with the first hop of a source route in
//! its first place; [`IpOptions::record`] and [`IpOptions::towards`] make of it what a packet has.

use super::Malformed;
use core::net::Ipv4Addr;

/// The longest list: a header has 60 bytes.
pub const MAX_IP_OPTIONS: usize = 40;

const END: u8 = 0;
const NOP: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const CIPSO: u8 = 134;
const STRICT_SOURCE_ROUTE: u8 = 137;
const ROUTER_ALERT: u8 = 148;

/// What a timestamp option asks for: times; addresses and times; times of these addresses.
const TIMES: u8 = 0;
const WITH_ADDRESSES: u8 = 1;
const OF_ADDRESSES: u8 = 3;

/// A list of options, filled up with zeros to a multiple of four bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct IpOptions {
    len: u8,
    bytes: [u8; MAX_IP_OPTIONS],
}

impl Default for IpOptions {
    fn default() -> IpOptions {
        IpOptions::NONE
    }
}

/// Why a program can't have a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It is malformed or too long, or has what only the privileged may send.
    Invalid,
    /// It is a source route, and the program isn't privileged.
    Forbidden,
}

/// What a host writes into options.
#[derive(Clone, Copy)]
pub struct Mark<'a> {
    /// Its address.
    pub address: Ipv4Addr,
    /// Milliseconds since midnight UT.
    pub time: u32,
    /// Whether an address is another host's.
    pub elsewhere: &'a dyn Fn(Ipv4Addr) -> bool,
    /// The packet was received: what finds no room is counted.
    pub received: bool,
}

/// An option of more than one byte: its type, where it is, and its length.
#[derive(Clone, Copy)]
struct Item {
    kind: u8,
    at: usize,
    len: usize,
}

/// The options of more than one byte, up to an end or to what is none.
fn items(list: &[u8]) -> impl Iterator<Item = Result<Item, Malformed>> {
    let mut at = 0;
    core::iter::from_fn(move || {
        loop {
            match *list.get(at..)? {
                [] | [END, ..] => return None,
                [NOP, ..] => at += 1,
                [kind, len, ..] if len >= 2 && at + usize::from(len) <= list.len() => {
                    let len = usize::from(len);
                    let item = Item { kind, at, len };
                    at += len;
                    return Some(Ok(item));
                }
                _ => {
                    at = list.len();
                    return Some(Err(Malformed::BadHeader));
                }
            }
        }
    })
}

/// The list's options that are whole, with their bytes.
fn options(list: &[u8]) -> impl Iterator<Item = (Item, &[u8])> {
    items(list)
        .map_while(Result::ok)
        .filter_map(|item| Some((item, list.get(item.at..item.at + item.len)?)))
}

/// Who sends a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Peer,
    Program { privileged: bool },
}

/// Whether a list is in order (Linux: `__ip_options_compile`); and whether it has a source route.
fn check(list: &[u8], from: From) -> Result<bool, Malformed> {
    let forbidden = from == From::Program { privileged: false };
    let (mut route, mut record, mut times) = (false, false, false);
    for item in items(list) {
        let Item { kind, at, len } = item?;
        let byte = |n: usize| list.get(at + n).copied().filter(|_| n < len);
        let pointer = byte(2).map_or(0, usize::from);
        // From where the pointer points, so many bytes.
        let has = |bytes: usize| pointer > len || pointer + bytes - 1 <= len;
        let flags = byte(3).unwrap_or(0);
        let good = match kind {
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => {
                let first = !core::mem::replace(&mut route, true);
                let given = pointer == 4 && len >= 7 && len % 4 == 3;
                first && pointer >= 4 && (from == From::Peer || given)
            }
            RECORD_ROUTE => !core::mem::replace(&mut record, true) && pointer >= 4 && has(4),
            TIMESTAMP => {
                let first = !core::mem::replace(&mut times, true);
                let fits = match flags & 15 {
                    _ if pointer > len => flags >> 4 != 15,
                    TIMES => has(4),
                    WITH_ADDRESSES | OF_ADDRESSES => has(8),
                    _ => has(4) && !forbidden,
                };
                first && len >= 4 && pointer >= 5 && fits
            }
            ROUTER_ALERT => len >= 4,
            // Nobody has defined a domain of interpretation.
            CIPSO => false,
            _ => !forbidden,
        };
        if !good {
            return Err(Malformed::BadHeader);
        }
    }
    Ok(route)
}

/// Whether a received list is in order.
// RFC 9293 MUST-50
// RFC 1122 S3.2.1.8-3
pub(super) fn check_received(list: &[u8]) -> Result<(), Malformed> {
    check(list, From::Peer).map(|_| ())
}

/// Where a packet with this list goes in the end, if not to where its header says: TCP's checksum
/// is of that address.
pub(super) fn destination(list: &[u8]) -> Option<Ipv4Addr> {
    let route = options(list).find_map(|(item, o)| item.is_route().then_some(o))?;
    let goes_on = usize::from(*route.get(2)?) + 3 <= route.len();
    address(route, route.len().checked_sub(4).filter(|at| *at >= 3)?).filter(|_| goes_on)
}

fn address(option: &[u8], at: usize) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = option.get(at..at + 4)?.try_into().ok()?;
    Some(Ipv4Addr::from(bytes))
}

/// Write four bytes where an option points, and let it point behind them.
fn put(option: &mut [u8], bytes: [u8; 4]) {
    let Some(&pointer) = option.get(2) else {
        return;
    };
    let at = usize::from(pointer).saturating_sub(1);
    if let Some(place) = option.get_mut(at..at + 4) {
        place.copy_from_slice(&bytes);
        option[2] = pointer.saturating_add(4);
    }
}

impl Item {
    fn is_route(&self) -> bool {
        matches!(self.kind, LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE)
    }
}

impl IpOptions {
    /// No options.
    pub const NONE: IpOptions = IpOptions {
        len: 0,
        bytes: [0; MAX_IP_OPTIONS],
    };

    /// A list that a program gives. `privileged`: it has CAP_NET_RAW.
    // RFC 1122 S3.2.1.8-1
    // RFC 9293 MUST-51
    pub fn given(list: &[u8], privileged: bool) -> Result<IpOptions, Refused> {
        if list.len() > MAX_IP_OPTIONS {
            return Err(Refused::Invalid);
        }
        let mut o = IpOptions::NONE;
        o.append(list);
        o.fill_up();
        let from = From::Program { privileged };
        let route = check(o.as_bytes(), from).map_err(|_| Refused::Invalid)?;
        if route && !privileged {
            return Err(Refused::Forbidden);
        }
        o.clear_rest();
        o.clear_next();
        Ok(o)
    }

    /// A list that was received, and is in order.
    pub fn received(list: &[u8]) -> IpOptions {
        let mut o = IpOptions::NONE;
        o.append(list);
        o.fill_up();
        o
    }

    /// There are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The list's bytes, a multiple of four.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or_default()
    }

    /// Its length in bytes.
    pub fn len(&self) -> u16 {
        self.as_bytes().len() as u16
    }

    fn append(&mut self, bytes: &[u8]) {
        let at = usize::from(self.len);
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len() as u8;
        }
    }

    fn fill_up(&mut self) {
        self.len = self.len.next_multiple_of(4).min(MAX_IP_OPTIONS as u8);
    }

    /// Zeros behind an end.
    fn clear_rest(&mut self) {
        let mut at = 0;
        loop {
            match self.bytes.get(at..) {
                Some([END, ..]) => break,
                Some([NOP, ..]) => at += 1,
                Some([_, len, ..]) => at += usize::from(*len).max(1),
                _ => return,
            }
        }
        if let Some(rest) = self.bytes.get_mut(at..) {
            rest.fill(0);
        }
    }

    /// The place to be written next holds nothing (Linux: `ip_options_undo`).
    fn clear_next(&mut self) {
        let list = *self;
        for (item, o) in options(list.as_bytes()) {
            let places = match (item.kind, o.get(3).map(|f| f & 15)) {
                (RECORD_ROUTE, _) | (TIMESTAMP, Some(TIMES)) => 4,
                (TIMESTAMP, Some(WITH_ADDRESSES)) => 8,
                _ => continue,
            };
            let pointer = o.get(2).map_or(usize::MAX, |p| usize::from(*p));
            let at = item.at + pointer.saturating_sub(1).min(item.len);
            if pointer <= item.len
                && let Some(place) = self.bytes.get_mut(at..at + places)
            {
                place.fill(0);
            }
        }
    }

    /// The host that sends or receives the packet writes its address and the time where they are
    /// asked for.
    pub fn record(&mut self, mark: &Mark<'_>) {
        let (list, mine, time) = (*self, mark.address.octets(), mark.time.to_be_bytes());
        for (item, o) in options(list.as_bytes()) {
            let Some(out) = self.bytes.get_mut(item.at..item.at + item.len) else {
                return;
            };
            let pointer = o.get(2).map_or(0, |p| usize::from(*p));
            let has = |bytes: usize| pointer + bytes - 1 <= item.len;
            match (item.kind, o.get(3).map_or(0, |f| f & 15)) {
                (RECORD_ROUTE, _) if has(4) => put(out, mine),
                (TIMESTAMP, _) if pointer > item.len => {
                    if let Some(flags) = out.get_mut(3).filter(|_| mark.received) {
                        *flags = flags.wrapping_add(0x10);
                    }
                }
                (TIMESTAMP, TIMES) if has(4) => put(out, time),
                (TIMESTAMP, WITH_ADDRESSES) if has(8) => {
                    put(out, mine);
                    put(out, time);
                }
                (TIMESTAMP, OF_ADDRESSES) if has(8) => {
                    let asked = address(o, pointer.saturating_sub(1));
                    if let Some(asked) = asked.filter(|a| !(mark.elsewhere)(*a)) {
                        put(out, asked.octets());
                        put(out, time);
                    }
                }
                _ => {}
            }
        }
    }

    fn route(&self) -> Option<Item> {
        options(self.as_bytes()).find_map(|(item, _)| item.is_route().then_some(item))
    }

    fn route_bytes(&self) -> Option<&[u8]> {
        let route = self.route()?;
        self.as_bytes().get(route.at..route.at + route.len)
    }

    /// There is a source route.
    pub fn has_route(&self) -> bool {
        self.route().is_some()
    }

    /// No router may be between the hops of its source route.
    pub fn is_strict(&self) -> bool {
        self.route().is_some_and(|r| r.kind == STRICT_SOURCE_ROUTE)
    }

    /// Where a packet goes first, by a program's list.
    pub fn first_hop(&self) -> Option<Ipv4Addr> {
        address(self.route_bytes()?, 3)
    }

    /// A program's list as it goes with a packet: the first hop is in the header, `to` comes last.
    pub fn towards(&mut self, to: Ipv4Addr) {
        if let Some(route) = self.route()
            && let Some(o) = self.bytes.get_mut(route.at..route.at + route.len)
            && let Some(hops) = o.get_mut(3..).filter(|hops| hops.len() >= 4)
        {
            hops.rotate_left(4);
            let last = hops.len() - 4;
            hops[last..].copy_from_slice(&to.octets());
        }
    }

    /// The hops of a received list that are still to come. `None`: that makes no sense.
    pub fn hops_left(&self) -> Option<impl Iterator<Item = Ipv4Addr>> {
        let route = self.route_bytes().unwrap_or_default();
        let pointer = route.get(2).map_or(usize::MAX, |p| usize::from(*p));
        let left = route.get(pointer.saturating_sub(1)..).unwrap_or_default();
        let whole = left.len() % 4 == 0;
        let hops = left.chunks_exact(4).filter_map(|hop| address(hop, 0));
        whole.then_some(hops)
    }

    /// What answers a list that was received from `src`, and into which this host has written:
    /// routes and times go on, and a source route goes back (Linux: `__ip_options_echo`). As a
    /// program would give it. `None`: nothing can.
    // RFC 1122 S3.2.1.8-2
    // RFC 9293 MUST-53
    pub fn echo(&self, src: Ipv4Addr) -> Option<IpOptions> {
        let mut out = IpOptions::NONE;
        let list = self.as_bytes();
        for kind in [RECORD_ROUTE, TIMESTAMP] {
            let Some((item, o)) = options(list).find(|(item, _)| item.kind == kind) else {
                continue;
            };
            let pointer = usize::from(*o.get(2)?);
            let needs = match (kind, o.get(3).map_or(0, |f| f & 15)) {
                (RECORD_ROUTE, _) | (_, TIMES | OF_ADDRESSES) => 4,
                (_, WITH_ADDRESSES) => 8,
                _ => 0,
            };
            if pointer <= item.len && pointer + needs > item.len + 1 {
                return None;
            }
            out.append(o);
        }
        if let Some(route) = self.route_bytes() {
            out.append_back(route, src);
        }
        out.fill_up();
        out.clear_next();
        Some(out)
    }

    /// The way back along `route`.
    fn append_back(&mut self, route: &[u8], src: Ipv4Addr) {
        let Some(&[kind, _, pointer]) = route.first_chunk() else {
            return;
        };
        // As pointers count: where the hop was that came last.
        let last = usize::from(pointer).min(route.len() + 1).saturating_sub(4);
        let first = last % 4;
        let count = last / 4;
        let hop = |n: usize| address(route, first + 4 * n + 3);
        // Some hosts record themselves.
        let own = usize::from(count > 0 && hop(0) == Some(src));
        if count <= own {
            return;
        }
        self.append(&[kind, 3 + 4 * (count - own) as u8, 4]);
        for hop in (own..count).rev().filter_map(hop) {
            self.append(&hop.octets());
        }
    }
}

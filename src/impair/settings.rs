//! What a link can be told to be like.

use crate::time::Instant;

/// A chance in billionths; zero is never, [`Chance::ALWAYS`] always.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Chance(pub u32);

impl Chance {
    /// What happens never.
    pub const NEVER: Chance = Chance(0);
    /// What happens every time.
    pub const ALWAYS: Chance = Chance(1_000_000_000);

    /// `percent` of all times.
    pub const fn percent(percent: u32) -> Chance {
        Chance(percent * 10_000_000)
    }

    /// Whether it happens, by a random number.
    pub fn of(self, random: u64) -> bool {
        let billionth = (u128::from(random) * u128::from(Chance::ALWAYS.0)) >> 64;
        billionth < u128::from(self.0)
    }
}

/// When the link is out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Outage {
    /// For how long, in nanoseconds; 0: never.
    pub length: u64,
    /// How long after the settings were made the first one begins, in nanoseconds.
    pub start: u64,
    /// How long after the begin of one the next begins; 0: there is one only.
    pub every: u64,
}

impl Outage {
    /// The link is out at `now`, when it was set up at `since`.
    pub fn covers(&self, since: Instant, now: Instant) -> bool {
        let Some(after) = now.0.saturating_sub(since.0).checked_sub(self.start) else {
            return false;
        };
        let after = after.checked_rem(self.every).unwrap_or(after);
        after < self.length
    }
}

/// One direction's properties. Plain data; zero is a perfect link. Times in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Profile {
    /// How many of the packets are lost.
    pub loss: Chance,
    /// Losses come in bursts of this many packets in the mean; 0 and 1: each by itself.
    pub burst: u32,
    /// The Gilbert-Elliott model in full, instead of `loss` and `burst`.
    pub chain: Option<Chain>,
    /// How long a packet is on its way.
    pub delay: u64,
    /// By how much that varies to either side, each duration being as likely as the others.
    pub jitter: u64,
    /// How many of the packets are held back, so that others overtake them ...
    pub reorder: Chance,
    /// ... for half of this to all of it.
    pub reorder_by: u64,
    /// How many of the packets arrive twice.
    pub duplicate: Chance,
    /// How many of the packets arrive with one bit wrong.
    pub corrupt: Chance,
    /// Bits per second through the bottleneck; 0: no limit.
    pub rate: u64,
    /// How many packets wait before the bottleneck at most; 0: the default.
    pub queue: u32,
    /// The largest packet that gets through; 0: any.
    pub mtu: u32,
    /// Larger ones vanish without an ICMP message.
    pub black_hole: bool,
    /// When nothing gets through.
    pub outage: Outage,
}

/// The Gilbert-Elliott model: a good and a bad state, each with its loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Chain {
    /// The chance of getting from good to bad, for each packet.
    pub to_bad: Chance,
    /// The chance of getting from bad to good.
    pub to_good: Chance,
    /// How many are lost in the bad state.
    pub bad: Chance,
    /// How many are lost in the good state.
    pub good: Chance,
}

/// How late reordered packets are at most where it isn't said: 5 ms.
pub const REORDER_BY: u64 = 5_000_000;

impl Profile {
    /// It impairs nothing.
    pub fn is_clear(&self) -> bool {
        let Profile {
            loss,
            burst: _,
            chain,
            delay,
            jitter,
            reorder,
            reorder_by: _,
            duplicate,
            corrupt,
            rate,
            queue: _,
            mtu,
            black_hole: _,
            outage,
        } = *self;
        [loss, reorder, duplicate, corrupt] == [Chance::NEVER; 4]
            && chain.is_none()
            && [delay, jitter, rate, u64::from(mtu), outage.length] == [0; 5]
    }

    /// The loss as a chain.
    pub fn chain(&self) -> Chain {
        if let Some(chain) = self.chain {
            return chain;
        }
        if self.burst < 2 || self.loss == Chance::NEVER {
            return Chain {
                good: self.loss,
                ..Chain::default()
            };
        }
        // In the bad state all is lost; it lasts for `burst` packets in the mean, and takes
        // such a share of all packets as are to be lost.
        let all = u64::from(Chance::ALWAYS.0);
        let loss = u64::from(self.loss.0).min(all);
        let to_good = all / u64::from(self.burst);
        let to_bad = (to_good * loss).checked_div(all - loss).unwrap_or(all);
        Chain {
            to_bad: Chance(to_bad.min(all) as u32),
            to_good: Chance(if loss == all { 0 } else { to_good as u32 }),
            bad: Chance::ALWAYS,
            good: Chance::NEVER,
        }
    }
}

/// Which of the stack's links are impaired.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Where {
    /// The loopback and the device.
    #[default]
    Both = 0,
    /// 127.0.0.1 and whatever else stays inside the stack.
    Lo = 1,
    /// The TUN device.
    Tun = 2,
}

/// Everything that `utcp impair` sets. Plain data; zero is a perfect network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Settings {
    /// What leaves the stack, and what stays inside.
    pub out: Profile,
    /// What comes in.
    pub in_: Profile,
    /// Which links.
    pub on: Where,
    /// Where chance begins.
    pub seed: u64,
}

impl Settings {
    /// They impair nothing.
    pub fn is_clear(&self) -> bool {
        self.out.is_clear() && self.in_.is_clear()
    }

    /// The profile for each way: out, in, loopback.
    ///
    /// Every segment on the loopback leaves the host once, so what is said of leaving packets
    /// holds there; nothing comes in.
    pub fn profiles(&self) -> [Profile; 3] {
        let clear = Profile::default();
        let tun = |p| if self.on == Where::Lo { clear } else { p };
        let lo = if self.on == Where::Tun {
            clear
        } else {
            self.out
        };
        [tun(self.out), tun(self.in_), lo]
    }
}

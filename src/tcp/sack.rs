//! What the peer said it holds beyond `snd_una` (RFC 2018, section 5): the scoreboard.

use super::SeqNum;

/// How many separate runs are remembered. A run that finds no place is forgotten, which costs
/// a retransmission that was not needed and nothing else.
const RUNS: usize = 12;

/// Runs of bytes the peer reported in SACK options, in order, apart, above `snd_una`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Scoreboard {
    runs: [(SeqNum, SeqNum); RUNS],
    len: u8,
}

impl Scoreboard {
    /// The runs, lowest first.
    pub fn runs(&self) -> &[(SeqNum, SeqNum)] {
        self.runs.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// Forget everything (reneging, RFC 2018, section 8).
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// How many bytes are reported.
    pub fn bytes(&self) -> u32 {
        self.runs()
            .iter()
            .fold(0u32, |n, r| n.wrapping_add(r.1 - r.0))
    }

    /// Where the highest run starts.
    pub fn highest_start(&self) -> Option<SeqNum> {
        self.runs().last().map(|r| r.0)
    }

    /// Add `[start, end)`; true if it told something new. The caller has checked that it lies
    /// within `(snd_una, snd_nxt]`.
    pub fn insert(&mut self, start: SeqNum, end: SeqNum) -> bool {
        if start.ge(end) {
            return false;
        }
        let before = self.bytes();
        let mut merged = (start, end);
        let mut kept = [(SeqNum(0), SeqNum(0)); RUNS];
        let mut n = 0;
        let mut placed = false;
        for &run in self.runs() {
            if run.1.lt(merged.0) || (run.0.gt(merged.1)) {
                if run.0.gt(merged.1) && !placed {
                    placed = true;
                    if !push(&mut kept, &mut n, merged) {
                        return false;
                    }
                }
                if !push(&mut kept, &mut n, run) {
                    return false;
                }
            } else {
                merged = (merged.0.min(run.0), merged.1.max(run.1));
            }
        }
        if !placed && !push(&mut kept, &mut n, merged) {
            return false;
        }
        self.runs = kept;
        self.len = n as u8;
        self.bytes() != before
    }

    /// `snd_una` moved: drop what is below it.
    pub fn remove_below(&mut self, una: SeqNum) {
        let mut kept = [(SeqNum(0), SeqNum(0)); RUNS];
        let mut n = 0;
        for &(start, end) in self.runs() {
            if end.gt(una) {
                push(&mut kept, &mut n, (start.max(una), end));
            }
        }
        self.runs = kept;
        self.len = n as u8;
    }

    /// The first run of bytes at or after `from` and before `to` that is not reported.
    pub fn next_hole(&self, from: SeqNum, to: SeqNum) -> Option<(SeqNum, SeqNum)> {
        let mut start = from;
        for run in self.runs() {
            if start.lt(run.0) {
                break;
            }
            start = start.max(run.1);
        }
        let next = self.runs().iter().find(|r| r.0.gt(start));
        let end = next.map_or(to, |r| r.0.min(to));
        start.lt(end).then_some((start, end))
    }

    /// Bytes of `[from, to)` that are not reported.
    pub fn unreported(&self, from: SeqNum, to: SeqNum) -> u32 {
        if from.ge(to) {
            return 0;
        }
        let mut n = to - from;
        for run in self.runs() {
            let (start, end) = (run.0.max(from), run.1.min(to));
            if start.lt(end) {
                n = n.saturating_sub(end - start);
            }
        }
        n
    }
}

fn push(to: &mut [(SeqNum, SeqNum); RUNS], n: &mut usize, run: (SeqNum, SeqNum)) -> bool {
    match to.get_mut(*n) {
        Some(slot) => {
            *slot = run;
            *n += 1;
            true
        }
        None => false,
    }
}

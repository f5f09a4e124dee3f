//! The greatest value of the last so many rounds, in little space: the best three candidates
//! (Kathleen Nichols' filter, which Linux has in `lib/win_minmax.c`).

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct MaxFilter {
    /// Round and value, best first.
    best: [(u32, u32); 3],
}

impl MaxFilter {
    /// The greatest value.
    pub(super) fn get(&self) -> u32 {
        self.best[0].1
    }

    /// Round `t` had `value`; what is more than `window` rounds old is forgotten.
    pub(super) fn update(&mut self, window: u32, t: u32, value: u32) {
        let new = (t, value);
        let b = &mut self.best;
        if value >= b[0].1 || t.wrapping_sub(b[2].0) > window {
            *b = [new; 3];
            return;
        }
        if value >= b[1].1 {
            b[2] = new;
            b[1] = new;
        } else if value >= b[2].1 {
            b[2] = new;
        }
        let age = t.wrapping_sub(b[0].0);
        if age > window {
            *b = [b[1], b[2], new];
            if t.wrapping_sub(b[0].0) > window {
                *b = [b[1], b[2], new];
            }
        } else if b[1].0 == b[0].0 && age > window / 4 {
            b[2] = new;
            b[1] = new;
        } else if b[2].0 == b[1].0 && age > window / 2 {
            b[2] = new;
        }
    }
}

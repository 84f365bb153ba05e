//! One pass over a text that tells which closer looks are worth their time.
//!
//! Not here: the looks. Invariant: a glance may say "perhaps" too often, never "no" where something is.

/// What a text could hold, going by its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Glance {
    seen: u8,
    /// How many digits there are.
    pub(crate) digits: usize,
    /// The longest run of letters, digits, `+`, `/`, `-` and `_`.
    pub(crate) run: usize,
    is_spread: bool,
}

const DIGIT: u8 = 1;
const RUN: u8 = 2;
const AT: u8 = 4;
const ESCAPE: u8 = 8;
const FOLDS: u8 = 16;
const SIGN: u8 = 32;

/// The classes of each byte.
static CLASSES: [u8; 256] = classes();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated at compile time, where it cannot be out of bounds"
)]
const fn classes() -> [u8; 256] {
    let mut classes = [0u8; 256];
    let mut byte = 0u8;
    loop {
        classes[byte as usize] = match byte {
            b'0'..=b'9' => DIGIT | RUN,
            b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'/' | b'-' | b'_' => RUN,
            b'@' => AT,
            b':' | b'=' | b'$' | b'>' => SIGN,
            b'%' | b'&' | b'\\' => ESCAPE,
            0 | 0x80.. => FOLDS,
            _ => 0,
        };
        if byte == u8::MAX {
            return classes;
        }
        byte += 1;
    }
}

/// A text without a run of this length and without a `SIGN` holds no secret: see `detect::secret`.
pub(crate) const SECRET_RUN_MIN: usize = 14;

/// Blanks at every second place, eight times: nine characters spread out.
const SPREAD: u32 = 0b0101_0101_0101_0101;

impl Glance {
    pub(crate) fn over(text: &str) -> Self {
        let mut glance = Self::default();
        let (mut run, mut blanks) = (0usize, 0u32);
        for byte in text.bytes() {
            let class = CLASSES.get(usize::from(byte)).copied().unwrap_or(0);
            glance.seen |= class;
            glance.digits += usize::from(class & DIGIT);
            run = if class & RUN == 0 { 0 } else { run + 1 };
            glance.run = glance.run.max(run);
            blanks = blanks << 1 | u32::from(byte == b' ');
            glance.is_spread |= blanks & 0xffff == SPREAD;
        }
        glance
    }

    /// Whether folding could change the text.
    pub(crate) fn folds(self) -> bool {
        self.seen & FOLDS != 0
    }

    pub(crate) fn has_at(self) -> bool {
        self.seen & AT != 0
    }

    /// Whether there is a `%`, `&` or `\`.
    pub(crate) fn has_escape(self) -> bool {
        self.seen & ESCAPE != 0
    }

    /// Whether there is a long run or a sign that something is given a value: any secret has one or the other.
    pub(crate) fn may_tell(self) -> bool {
        self.run >= SECRET_RUN_MIN || self.seen & SIGN != 0
    }

    /// Whether nine lone characters stand in a row.
    pub(crate) fn is_spread(self) -> bool {
        self.is_spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_sees_what_each_look_needs() {
        let glance = Glance::over("a@b %41 12345 abc+/-_9 !");
        assert_eq!((glance.digits, glance.run), (8, 8));
        assert!(glance.has_at() && glance.has_escape() && !glance.folds() && !glance.is_spread());
        assert!(Glance::over("é").folds() && Glance::over("\0").folds());
        assert!(Glance::over("ssn 4 6 0 - 8 9 - 9 8 4 7").is_spread());
        assert!(Glance::over("1 2 3 4 5 6 7 8 9").is_spread());
        assert!(!Glance::over("1 2 3 4 5 6 7 no 9").is_spread());
    }
}

//! Chance that can be had again: the same seed, the same throws (xorshift64*).

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The seed of the environment, where one is given; it is printed, so that a run can be repeated.
    pub(crate) fn from_environment() -> Self {
        let given = std::env::var("BREAKGLASS_SEED").ok().map(|seed| seed.parse().expect("BREAKGLASS_SEED"));
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()) ^ 0x9E37_79B9_7F4A_7C15);
        eprintln!("BREAKGLASS_SEED={seed}");
        Self::of(seed)
    }

    pub(crate) fn of(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// Another, whose throws are its own.
    pub(crate) fn apart(&mut self) -> Self {
        Self::of(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Less than `count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.next() >> 33) as usize % count
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

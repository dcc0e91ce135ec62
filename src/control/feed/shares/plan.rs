//! Who gets how many uses: arithmetic alone, no I/O.

use crate::store::contract::Share;

/// Each of `sidecars` newcomers' part of `free` uses: even, the remainder to the first.
pub(super) fn even_split(free: u32, sidecars: usize) -> Vec<u32> {
    let Ok(count @ 1..) = u32::try_from(sidecars) else { return Vec::new() };
    let (part, remainder) = (free / count, free % count);
    (0..count).map(|i| if i == 0 { part.saturating_add(remainder) } else { part }).collect()
}

/// How much of what is free one sidecar may take at once, so that the others find something too.
pub(super) fn helping(free: u32, sidecars: usize) -> u32 {
    let count = u32::try_from(sidecars).unwrap_or(u32::MAX).max(1);
    free.div_ceil(count).max(1)
}

/// What is not allotted to anyone; a lineage that spent more than its share has taken that much.
pub(super) fn free(max_uses: u32, shares: &[Share]) -> u32 {
    let taken = shares.iter().fold(0_u32, |sum, share| sum.saturating_add(share.allotted.max(share.spent)));
    max_uses.saturating_sub(taken)
}

/// The one of `candidates` to be asked back, and what it may keep: the richest gives the larger half of what it has
/// not spent. Nobody, when nobody has anything.
pub(super) fn donor<'a>(candidates: impl Iterator<Item = &'a Share>) -> Option<(&'a Share, u32)> {
    let unspent = |share: &Share| share.allotted.saturating_sub(share.spent);
    let richest = candidates.max_by_key(|share| unspent(share)).filter(|share| unspent(share) > 0)?;
    Some((richest, richest.spent.saturating_add(unspent(richest) / 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(lineage: &str, allotted: u32, spent: u32) -> Share {
        let (grant, instance) = ("g-000000000001".parse().unwrap(), "one".parse().unwrap());
        Share { grant, lineage: lineage.into(), instance, allotted, spent }
    }

    #[test]
    fn a_split_gives_all_and_no_more() {
        assert_eq!(even_split(5, 1), [5]);
        assert_eq!(even_split(5, 3), [3, 1, 1]);
        assert_eq!(even_split(1, 2), [1, 0]);
        assert!(even_split(5, 0).is_empty());
    }

    #[test]
    fn overspending_counts_as_taken() {
        assert_eq!(free(5, &[share("a", 2, 3), share("b", 1, 0)]), 1);
        assert_eq!(free(2, &[share("a", 2, 3)]), 0);
    }

    #[test]
    fn the_richest_gives_the_larger_half() {
        let shares = [share("a", 5, 5), share("b", 4, 1), share("c", 2, 0)];
        let (from, keep) = donor(shares.iter()).unwrap();
        assert_eq!((from.lineage.as_str(), keep), ("b", 2));
        assert!(donor([share("a", 5, 5)].iter()).is_none());
    }
}

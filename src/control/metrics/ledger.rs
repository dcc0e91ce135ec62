//! The ledger: entries, the tree over them, and what of it is signed.

use crate::control::ledger::Standing;
use crate::telemetry::metric::{Family, Page};

static ENTRIES: Family =
    Family::gauge("breakglass_control_ledger_entries", "Entries that are committed, of the whole database.", "");
static SIZE: Family = Family::gauge(
    "breakglass_control_ledger_tree_size",
    "Entries of the Merkle tree.",
    "Behind breakglass_control_ledger_entries for seconds: look at breakglass_control_ledger_failing.",
);
static SIGNED: Family = Family::gauge(
    "breakglass_control_ledger_signed_size",
    "Entries of the newest signed checkpoint.",
    "Behind breakglass_control_ledger_tree_size for seconds: look at breakglass_control_ledger_failing.",
);
static FAILING: Family = Family::gauge(
    "breakglass_control_ledger_failing",
    "1 while this replica can't build or sign the ledger.",
    "1: the log says why. What is recorded is safe, and is signed once that is put right.",
);

static UNWITNESSED: Family = Family::gauge(
    "breakglass_control_ledger_unwitnessed_entries",
    "Entries that are signed and that the witness which is furthest behind has not cosigned; 0 without a witness.",
    "Above zero for minutes: a witness can't be reached, or refuses; the log says which and why.",
);

pub(super) const FAMILIES: &[&Family] = &[&ENTRIES, &SIZE, &SIGNED, &FAILING, &UNWITNESSED];

pub(super) fn fill(standing: &Standing, page: &mut Page) {
    let ledger = standing.ledger.as_ref();
    let known = |count: Option<u64>| count.map_or(f64::NAN, |count| count as f64);
    let signed = ledger.map(|ledger| ledger.signed.unwrap_or(0));
    page.show(&ENTRIES, known(ledger.map(|ledger| ledger.entries)));
    page.show(&SIZE, known(ledger.map(|ledger| ledger.size)));
    page.show(&SIGNED, known(signed));
    page.show(&FAILING, u64::from(standing.failure.is_some()));
    let witnessed = standing.witnessed.iter().map(|(_, size)| *size).min();
    page.show(&UNWITNESSED, signed.zip(witnessed).map_or(0, |(signed, witnessed)| signed.saturating_sub(witnessed)));
}

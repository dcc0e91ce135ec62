//! The ledger: entries, the tree over them, and what of it is signed.

use crate::control::ledger::Standing;
use crate::telemetry::metric::{Family, Label, Page, Values};

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

const WITNESS: &[Label] = &[Label { name: "witness", values: Values::Text("a witness of the configuration") }];
static WITNESSED: Family = Family::gauge(
    "breakglass_control_ledger_witnessed_size",
    "Entries of the newest checkpoint that a witness cosigned.",
    "Behind breakglass_control_ledger_signed_size for minutes: the witness can't be reached, or refuses; the log says why.",
)
.by(WITNESS);

pub(super) const FAMILIES: &[&Family] = &[&ENTRIES, &SIZE, &SIGNED, &FAILING, &WITNESSED];

pub(super) fn fill(standing: &Standing, page: &mut Page) {
    if let Some(ledger) = standing.ledger {
        page.show(&ENTRIES, ledger.entries);
        page.show(&SIZE, ledger.size);
        page.show(&SIGNED, ledger.signed.unwrap_or(0));
    }
    for (witness, size) in &standing.witnessed {
        page.show_by(&WITNESSED, &[witness], *size);
    }
    page.show(&FAILING, u64::from(standing.failure.is_some()));
}

//! Contracts, payments and the rules, without any HTTP. Amounts are minor units (cents).

use std::collections::BTreeMap;

use serde::Serialize;

use super::permit::Override;

/// Payments of more than this need two approvals.
const FOUR_EYES_ABOVE: u64 = 1_000_000;
/// No contract's limit is set higher without an override.
const LIMIT_MAX: u64 = 10_000_000;
const APPROVALS_MIN: usize = 2;

/// A rule that locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    Frozen,
    OverLimit,
    FourEyesMissing,
    LimitTooHigh,
}

impl Rule {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::OverLimit => "over_limit",
            Self::FourEyesMissing => "four_eyes_missing",
            Self::LimitTooHigh => "limit_too_high",
        }
    }
}

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such contract")]
    NoContract,
    #[error("there is no such payment under this contract")]
    NoPayment,
    #[error("the rule {} locks it", .0.as_str())]
    Locked(Rule),
    #[error("the payment was already released")]
    AlreadyReleased,
    #[error("the payment was cancelled")]
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    Pending,
    Released,
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ContractState {
    Active,
    Frozen,
}

#[derive(Debug, Clone, Serialize)]
pub struct Payment {
    pub amount: u64,
    pub state: PaymentState,
    pub approvals: Vec<String>,
    /// Under which override it got its present state, if under one.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Override>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Contract {
    pub state: ContractState,
    pub currency: &'static str,
    pub limit: u64,
    pub payments: BTreeMap<String, Payment>,
}

/// Everything the API knows. It lives in memory and is gone at the end.
#[derive(Debug, Clone)]
pub struct World {
    contracts: BTreeMap<String, Contract>,
}

impl World {
    /// C-1042 is frozen, with the payment P-7 that is stuck at 2:13 and P-8 beside it; C-2077 is active, with P-1 that
    /// nothing locks, P-2 over the limit and P-3 short of an approval; C-3001 is frozen too, with P-1.
    pub fn demo() -> Self {
        let (frozen, active) = (ContractState::Frozen, ContractState::Active);
        let contracts = [
            contract("C-1042", frozen, 5_000_000, &[("P-7", 1_250_000, 2), ("P-8", 80_000, 1)]),
            contract("C-2077", active, 3_000_000, &[("P-1", 250_000, 1), ("P-2", 4_000_000, 2), ("P-3", 2_000_000, 1)]),
            contract("C-3001", frozen, 1_000_000, &[("P-1", 90_000, 1)]),
        ];
        Self { contracts: contracts.into() }
    }

    /// # Errors
    /// [`Refusal::NoContract`].
    pub fn contract(&self, contract: &str) -> Result<&Contract, Refusal> {
        self.contracts.get(contract).ok_or(Refusal::NoContract)
    }

    /// # Errors
    /// When there is no such contract or payment.
    pub fn payment(&self, contract: &str, payment: &str) -> Result<&Payment, Refusal> {
        self.contract(contract)?.payments.get(payment).ok_or(Refusal::NoPayment)
    }

    /// Releases a payment: by the rules, or past them under an override.
    ///
    /// # Errors
    /// [`Refusal`]. An override steps past rules, not past facts: what was released or cancelled stays so.
    pub fn release(&mut self, contract: &str, payment: &str, by: Option<&Override>) -> Result<Payment, Refusal> {
        self.settle(contract, payment, by, PaymentState::Released, |contract, payment| {
            if contract.state == ContractState::Frozen {
                return Some(Rule::Frozen);
            }
            if payment.amount > contract.limit {
                return Some(Rule::OverLimit);
            }
            (payment.amount > FOUR_EYES_ABOVE && payment.approvals.len() < APPROVALS_MIN)
                .then_some(Rule::FourEyesMissing)
        })
    }

    /// Cancels a payment.
    ///
    /// # Errors
    /// As [`World::release`].
    pub fn cancel(&mut self, contract: &str, payment: &str, by: Option<&Override>) -> Result<Payment, Refusal> {
        self.settle(contract, payment, by, PaymentState::Cancelled, |contract, _| frozen(contract))
    }

    /// Sets a contract's limit.
    ///
    /// # Errors
    /// As [`World::release`].
    pub fn set_limit(&mut self, contract: &str, amount: u64, by: Option<&Override>) -> Result<u64, Refusal> {
        let contract = self.contracts.get_mut(contract).ok_or(Refusal::NoContract)?;
        let locked = frozen(contract).or((amount > LIMIT_MAX).then_some(Rule::LimitTooHigh));
        match (locked, by) {
            (Some(rule), None) => Err(Refusal::Locked(rule)),
            (None, _) | (Some(_), Some(_)) => {
                contract.limit = amount;
                Ok(amount)
            }
        }
    }

    fn settle(
        &mut self,
        contract: &str,
        payment: &str,
        by: Option<&Override>,
        state: PaymentState,
        locked_by: impl Fn(&Contract, &Payment) -> Option<Rule>,
    ) -> Result<Payment, Refusal> {
        let found = self.payment(contract, payment)?;
        match found.state {
            PaymentState::Pending => {}
            PaymentState::Released => return Err(Refusal::AlreadyReleased),
            PaymentState::Cancelled => return Err(Refusal::Cancelled),
        }
        if by.is_none()
            && let Some(rule) = locked_by(self.contract(contract)?, found)
        {
            return Err(Refusal::Locked(rule));
        }
        let settled = Payment { state, overridden: by.cloned(), ..found.clone() };
        let payments = self.contracts.get_mut(contract).map(|contract| &mut contract.payments);
        payments.ok_or(Refusal::NoContract)?.insert(payment.to_owned(), settled.clone());
        Ok(settled)
    }
}

fn frozen(contract: &Contract) -> Option<Rule> {
    (contract.state == ContractState::Frozen).then_some(Rule::Frozen)
}

fn contract(id: &str, state: ContractState, limit: u64, payments: &[(&str, u64, usize)]) -> (String, Contract) {
    let payments = payments.iter().map(|(id, amount, approvals)| {
        let approvals = ["treasury", "controlling"].into_iter().take(*approvals).map(str::to_owned).collect();
        let payment = Payment { amount: *amount, state: PaymentState::Pending, approvals, overridden: None };
        ((*id).to_owned(), payment)
    });
    (id.to_owned(), Contract { state, currency: "EUR", limit, payments: payments.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_locks_what_it_should_and_nothing_else() {
        let mut world = World::demo();
        for (contract, payment, expected) in [
            ("C-1042", "P-7", Err(Refusal::Locked(Rule::Frozen))),
            ("C-2077", "P-2", Err(Refusal::Locked(Rule::OverLimit))),
            ("C-2077", "P-3", Err(Refusal::Locked(Rule::FourEyesMissing))),
            ("C-2077", "P-1", Ok(PaymentState::Released)),
            ("C-2077", "P-1", Err(Refusal::AlreadyReleased)),
            ("C-2077", "P-9", Err(Refusal::NoPayment)),
            ("C-9999", "P-1", Err(Refusal::NoContract)),
        ] {
            assert_eq!(world.release(contract, payment, None).map(|p| p.state), expected, "{contract} {payment}");
        }
        assert_eq!(world.cancel("C-1042", "P-8", None).unwrap_err(), Refusal::Locked(Rule::Frozen));
        assert_eq!(world.set_limit("C-2077", LIMIT_MAX + 1, None), Err(Refusal::Locked(Rule::LimitTooHigh)));
        assert_eq!(world.set_limit("C-2077", 4_000_000, None), Ok(4_000_000));
        assert!(world.release("C-2077", "P-2", None).is_ok(), "the new limit holds");
    }
}

//! `/v1/reports`: the story of one grant, and a period in numbers, out of the ledger's entries.
//!
//! The answer is JSON, CSV or an HTML document; which one is asked for by `format`, since a person follows a link with a browser that
//! asks for everything at once.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue, header};
use serde_json::{Map, Value};

use super::ApiState;
use super::asked::{Asked, Named};
use super::caller::Caller;
use super::grants::parse;
use crate::control::openapi::{REPORTS, refusals};
use crate::control::refusal::{Cause, Refusal};
use crate::control::reporting::{ReportError, Signed};
use crate::control::workflow::reads::View;
use crate::domain::GrantId;
use crate::report::{csv, html, page};
use crate::wire::reports::{GrantReport, GrantReportQuery, PeriodReport, PeriodReportQuery, ReportFormat};

/// Longest period: a year and what a year's report is late.
const PERIOD_MAX: Duration = Duration::from_secs(400 * 86_400);
const NO_REFERRER: &str = "no-referrer";

/// Report on a grant
///
/// The whole story, out of the ledger: request, approvals, overrides, refusals, end, reviews, and whether these are all
/// overrides. For administrators, auditors, reviewers and those who approve in its tier. Reading it is an entry.
#[utoipa::path(
    get, path = "/v1/reports/grants/{id}", operation_id = "reportOnGrant", tag = REPORTS,
    params(("id" = GrantId, Path, description = "The grant's id."), GrantReportQuery),
    responses((status = 200, description = "The report.", content(
        (GrantReport = "application/json"), (String = "text/html"), (String = "text/csv"),
    ))),
    extensions(("x-refusals" = json!(refusals(&[Cause::NotPermitted])))),
)]
pub(crate) async fn grant(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Named(id): Named,
    Asked(query): Asked<GrantReportQuery>,
) -> Result<Response, Refusal> {
    let workflow = &state.workflow;
    let record = workflow.reported_grant(&caller, &parse(&id)?).await?;
    let _turn = state.reporting.turn()?;
    sign(&state).await;
    let report = signed(&state).grant(&record.grant.id).await?;
    let format = query.format.unwrap_or_default();
    let filter = [("id", Value::from(record.grant.id.as_str())), ("format", format.as_str().into())];
    let about = (Some(&record.grant.person), 1);
    workflow.record_report(&caller, View::GrantReport, members(filter), about).await?;
    match format {
        ReportFormat::Json => Ok(Json(report).into_response()),
        ReportFormat::Html => html_answer(&page::of_grant(&report)),
        ReportFormat::Csv => csv_answer(csv::of_grant(&report), &format!("{}.csv", report.grant)),
    }
}

/// Report on a period
///
/// By team, person, reason, service and resource: time to access, time used against granted, refusals, revocation latency,
/// reviews; with tree size and root hash at both ends. For administrators and auditors. Reading it is an entry.
#[utoipa::path(
    get, path = "/v1/reports/periods", operation_id = "reportOnPeriod", tag = REPORTS,
    params(PeriodReportQuery),
    responses((status = 200, description = "The report.", content(
        (PeriodReport = "application/json"), (String = "text/html"), (String = "text/csv"),
    ))),
    extensions(("x-refusals" = json!(refusals(&[Cause::NotPermitted, Cause::PeriodInvalid])))),
)]
pub(crate) async fn period(
    State(state): State<ApiState>,
    Caller(caller): Caller,
    Asked(query): Asked<PeriodReportQuery>,
) -> Result<Response, Refusal> {
    let workflow = &state.workflow;
    workflow.may_report(&caller)?;
    check(&query)?;
    let _turn = state.reporting.turn()?;
    sign(&state).await;
    let report = signed(&state).period(query.since_at, query.before_at).await?;
    let format = query.format.unwrap_or_default();
    let (since, before) = (query.since_at.unix_ms(), query.before_at.unix_ms());
    let filter = [("since_at", since.into()), ("before_at", before.into()), ("format", format.as_str().into())];
    let records = usize::try_from(report.whole.grants).unwrap_or(usize::MAX);
    workflow.record_report(&caller, View::PeriodReport, members(filter), (None, records)).await?;
    match format {
        ReportFormat::Json => Ok(Json(report).into_response()),
        ReportFormat::Html => html_answer(&page::of_period(&report)),
        ReportFormat::Csv => csv_answer(csv::of_period(&report), "breakglass-report.csv"),
    }
}

fn check(query: &PeriodReportQuery) -> Result<(), Refusal> {
    let invalid = |detail: String| Err(Refusal::new(Cause::PeriodInvalid, detail));
    if query.since_at >= query.before_at {
        return invalid("the period ends before it begins: since_at comes before before_at".to_owned());
    }
    if query.before_at.since(query.since_at) > PERIOD_MAX {
        return invalid(format!("a period has at most {} days", PERIOD_MAX.as_secs() / 86_400));
    }
    Ok(())
}

/// What was done just now is to be in the report. Where nothing can be signed, it is of what was signed before: it says so
/// by its size.
async fn sign(state: &ApiState) {
    let ledger = Arc::clone(&state.ledger);
    // A task of its own: a caller who leaves can't leave a head half written.
    if let Ok(Err(error)) = tokio::spawn(async move { ledger.step().await }).await {
        tracing::debug!(error = crate::error_chain::error_chain(&error), "a report is made of what was signed before");
    }
}

fn signed(state: &ApiState) -> Signed<'_> {
    let workflow = &state.workflow;
    Signed { store: &workflow.store, origin: state.ledger.origin(), now: workflow.clock.wall() }
}

fn members<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A browser that shows it runs nothing and fetches nothing.
fn html_answer(page: &page::Page) -> Result<Response, Refusal> {
    let text = html::render(page).map_err(|_| Refusal::new(Cause::Internal, "the report could not be written"))?;
    let policy = HeaderValue::try_from(html::content_security_policy())
        .map_err(|_| Refusal::new(Cause::Internal, "the report's policy could not be written"))?;
    let mut response = typed("text/html; charset=utf-8", text.into_bytes());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static(NO_REFERRER));
    Ok(response)
}

/// INVARIANT: `name` is made of characters that need no quoting (RFC 6266).
fn csv_answer(csv: Result<Vec<u8>, ::csv::Error>, name: &str) -> Result<Response, Refusal> {
    let bytes = csv.map_err(|_| Refusal::new(Cause::Internal, "the report could not be written"))?;
    let mut response = typed("text/csv; charset=utf-8; header=present", bytes);
    if let Ok(disposition) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

fn typed(kind: &'static str, bytes: Vec<u8>) -> Response {
    let kind: (HeaderName, HeaderValue) = (header::CONTENT_TYPE, HeaderValue::from_static(kind));
    ([kind], bytes).into_response()
}

impl From<ReportError> for Refusal {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Store(error) => error.into(),
            ReportError::Ledger(error) => {
                tracing::error!(error = crate::error_chain::error_chain(&error), "the ledger can't be reported on");
                Self::new(Cause::StoreUnavailable, "the ledger can't be read as it should be")
            }
            ReportError::Entry(_) => Self::new(Cause::Internal, "an entry of the ledger can't be read"),
            ReportError::Unsigned => Self::new(Cause::StoreUnavailable, "the ledger has not been signed yet"),
            ReportError::Unknown => Self::not_found(),
            error @ ReportError::TooMany { .. } => {
                Self::new(Cause::PeriodInvalid, format!("{error}: report on a shorter period"))
            }
            error @ ReportError::Busy => Self::new(Cause::Overloaded, error.to_string()),
        }
    }
}

//! The record, for people and programs: `/audit/` with its charts, one call with everything known of it, the API and a
//! CSV export.
//!
//! It only reads, beside the writing thread, on the pool for blocking work. A reader lives as long as its request. The
//! caller has checked the session. Text in the record comes from agents and services: it is shown through [`text`] alone.
//!
//! | file | what it is |
//! |---|---|
//! | `readers` | how many may read at once, and what people hear when there is no answer |
//! | `query` | query parameters to a filter, and links that carry them |
//! | `list`, `call` | the pages |
//! | `chart` | counts as SVG and tables |
//! | `csv` | the export |
//! | `text` | hostile text cut and made visible; times, durations, tags |

mod call;
mod chart;
mod csv;
mod list;
mod query;
mod readers;
mod text;

use serde_json::{Value, json};

use super::page::{self, Here, JSON, Viewer};
use crate::net::front::{WebAnswer, WebRequest};
use crate::store::reader::{Lookup, RowPage, ShownCall, WantedPage};
pub(crate) use query::FOLDER;
use query::Query;
pub(crate) use readers::Readers;
use readers::RecordError;

/// Answers a request for a path below [`FOLDER`] of somebody who has signed in.
pub(crate) async fn answer(readers: &Readers, viewer: &Viewer, request: &WebRequest) -> WebAnswer {
    if request.method() != "GET" && request.method() != "HEAD" {
        return page::text(405, "the record can only be read").with("allow", "GET, HEAD");
    }
    routed(readers, viewer, request).await.unwrap_or_else(|refusal| refusal.answer(&request.path))
}

async fn routed(readers: &Readers, viewer: &Viewer, request: &WebRequest) -> Result<WebAnswer, RecordError> {
    match request.path.strip_prefix(FOLDER).unwrap_or_default() {
        "" => list_page(readers, viewer, &request.query).await,
        "export.csv" => csv::export(readers, Query::parse(&request.query, &[query::FILTERS])?).await,
        "api/log" => log(readers, &request.query).await,
        "api/stats" => stats(readers, &request.query).await,
        path => match (path.strip_prefix("api/call/"), path.strip_prefix("call/")) {
            (Some(id), _) => Ok(in_json(&shown(readers, id).await?.into_json())),
            (None, Some(id)) => call_page(readers, viewer, id, &request.query).await,
            (None, None) => Err(RecordError::Missing),
        },
    }
}

async fn list_page(readers: &Readers, viewer: &Viewer, query: &str) -> Result<WebAnswer, RecordError> {
    let query = list::chosen(Query::parse(query, &[query::FILTERS, query::PAGES])?).on_page(viewer);
    let (filter, wanted) = (query.filter(readers.clock.now())?, query.wanted()?);
    let main = readers.read(move |reader| list::page(reader, &query, &filter, wanted)).await?;
    Ok(page::page(viewer, Here::Audit, "Record", &[], &main))
}

async fn call_page(
    readers: &Readers,
    viewer: &Viewer,
    id: &str,
    query: &str,
) -> Result<WebAnswer, RecordError> {
    let query = Query::parse(query, &[query::CALL])?.on_page(viewer);
    let main = call::page(&shown(readers, id).await?.into_json(), &query);
    Ok(page::page(viewer, Here::Audit, "Call", &[], &main))
}

async fn shown(readers: &Readers, id: &str) -> Result<ShownCall, RecordError> {
    let id = id.to_owned();
    match readers.read(move |reader| reader.show(&id)).await? {
        Lookup::Found(shown) => Ok(*shown),
        Lookup::Unknown | Lookup::Ambiguous(_) => Err(RecordError::Missing),
    }
}

async fn log(readers: &Readers, query: &str) -> Result<WebAnswer, RecordError> {
    let query = Query::parse(query, &[query::FILTERS, query::PAGES])?;
    let (filter, wanted) = (query.filter(readers.clock.now())?, query.wanted()?);
    let log = readers.read(move |reader| Ok(log_text(&reader.page(&filter, wanted)?, wanted))).await?;
    Ok(page::data(200, JSON, log))
}

/// The page as JSON text; row by row, because all of them as values would take several times their size.
fn log_text(page: &RowPage, wanted: WantedPage) -> String {
    let entries: Vec<_> = page.rows.iter().map(|row| row.to_json().to_string()).collect();
    let mut about = json!({
        "total": page.total,
        "page": wanted.page,
        "per_page": wanted.per_page,
        "pages": page.pages,
    });
    if let (Some(to), Some(members)) = (page.searched_to, about.as_object_mut()) {
        members.insert("searched_to".into(), to.to_string().into());
    }
    let about = about.to_string();
    format!("{{\"entries\":[{}],{}", entries.join(","), about.strip_prefix('{').unwrap_or("}"))
}

async fn stats(readers: &Readers, query: &str) -> Result<WebAnswer, RecordError> {
    let now = readers.clock.now();
    let filter = Query::parse(query, &[query::RANGE])?.filter(now)?;
    let stats = readers.read(move |reader| reader.stats(filter.since, filter.until, now)).await?;
    Ok(in_json(&stats.to_json()))
}

fn in_json(value: &Value) -> WebAnswer {
    page::data(200, JSON, value.to_string())
}

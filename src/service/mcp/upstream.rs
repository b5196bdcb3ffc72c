//! What one server says of itself and offers: a handshake, and a list of bounded length in a bounded time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smol::LocalExecutor;

use super::connection::Connection;
use super::trouble::{UpstreamError, Why};
use crate::base::json::length;
use crate::config::McpEra;
use crate::protocol::mcp::era::{META_VERSION, MODERN, NEWEST_LEGACY, server_info};
use crate::service::child::Program;

/// More pages than this is no list.
const MAX_PAGES: usize = 200;
/// Tools of a list.
const MAX_TOOLS: usize = 10_000;
/// All pages of a list, in bytes.
const MAX_LIST: usize = 16 * 1024 * 1024;
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";

/// What a server says of itself and offers.
pub(crate) struct Listing {
    pub protocol: String,
    /// `name` and `version` as it gives them.
    pub server: Value,
    pub tools: Vec<Value>,
}

/// Starts a server, asks what it offers, and ends it with all of its processes. The handshake may take `patience`,
/// and so may the list, whatever its pages.
///
/// # Errors
/// When it gives no usable list.
pub(crate) async fn list(
    program: &Program,
    era: Option<McpEra>,
    patience: Duration,
) -> Result<Listing, UpstreamError> {
    let executor = LocalExecutor::new();
    let work = async {
        let connection = Connection::open(program, &executor, |text| text)?;
        match listing(&connection, era, patience).await {
            Ok(listing) => {
                connection.end(Why::Ended(None)).await;
                Ok(listing)
            }
            Err(why) => Err(connection.end(why).await),
        }
    };
    executor.run(work).await
}

async fn listing(connection: &Connection, era: Option<McpEra>, patience: Duration) -> Result<Listing, Why> {
    let (protocol, server) = hello(connection, era, patience).await?;
    Ok(Listing { protocol, server, tools: tools(connection, patience).await? })
}

/// The handshake first: servers of both kinds refuse it once they were asked without.
pub(super) async fn hello(
    connection: &Connection,
    era: Option<McpEra>,
    patience: Duration,
) -> Result<(String, Value), Why> {
    let us = server_info();
    let without = || {
        connection.set_meta(json!({META_VERSION: MODERN, META_CAPABILITIES: {}, META_CLIENT: us}));
        Ok((MODERN.to_owned(), Value::Null))
    };
    if era == Some(McpEra::Modern) {
        return without();
    }
    let params = json!({"protocolVersion": NEWEST_LEGACY, "capabilities": {}, "clientInfo": us});
    match connection.request("initialize", params, (Instant::now() + patience, patience)).await {
        Ok(hello) => {
            connection.notify("notifications/initialized", &json!({}))?;
            let version = hello.get("protocolVersion").and_then(Value::as_str);
            let version = version.ok_or(Why::Odd("initialize"))?.to_owned();
            Ok((version, hello.get("serverInfo").cloned().unwrap_or_default()))
        }
        Err(Why::Refused(..)) if era.is_none() => without(),
        Err(why) => Err(why),
    }
}

/// All pages of the list.
async fn tools(connection: &Connection, patience: Duration) -> Result<Vec<Value>, Why> {
    let mut tools = Vec::new();
    each_tool(connection, patience, |tool| tools.push(tool)).await?;
    Ok(tools)
}

/// Looks at each tool of all pages, of which one is held at a time.
pub(super) async fn each_tool(
    connection: &Connection,
    patience: Duration,
    mut look: impl FnMut(Value),
) -> Result<(), Why> {
    let until = Instant::now() + patience;
    let (mut seen, mut size, mut count) = (BTreeSet::new(), 0_usize, 0_usize);
    let mut cursor: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let params = cursor.as_ref().map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
        let mut page = connection.request("tools/list", params, (until, patience)).await?;
        size = size.saturating_add(length(&page));
        if size > MAX_LIST {
            return Err(Why::ListTooLarge);
        }
        let Some(Value::Array(found)) = page.get_mut("tools").map(Value::take) else {
            return Err(Why::Odd("tools/list"));
        };
        count = count.saturating_add(found.len());
        if count > MAX_TOOLS {
            return Err(Why::ListTooLarge);
        }
        found.into_iter().for_each(&mut look);
        match page.get("nextCursor").and_then(Value::as_str) {
            None => return Ok(()),
            Some(next) if !seen.insert(next.to_owned()) => return Err(Why::EndlessList),
            Some(next) => cursor = Some(next.to_owned()),
        }
    }
    Err(Why::EndlessList)
}

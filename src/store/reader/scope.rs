//! Which calls a question is about, as SQL: whole buckets through their counts, what a bound cuts through and what is
//! under way row by row. So a question costs what its edges cost, however long the record is.

use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, Row, params_from_iter};

use super::row::Filter;
use crate::base::glob::Pattern;
use crate::store::counts::{self, BUCKET, CELL};
use crate::store::error::StoreError;

/// More pieces than this come only from a clock that jumped about; everything is then read row by row.
const MAX_PIECES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScopePart {
    /// These buckets, with both ends, of which every finished call lies within the bounds.
    Whole(i64, i64),
    /// The calls from this number to before that one, each to be looked at.
    Rows(i64, i64),
}

/// The calls that a filter lets through, its text aside.
pub(super) struct Scope {
    pieces: Vec<ScopePart>,
    /// Conditions on columns that `counts` and `calls` share.
    shared: String,
    /// Conditions on columns of `calls` alone.
    rows: String,
    /// For `?1`, `?2` and so on of both.
    pub(super) values: Vec<Sql>,
    before: i64,
}

impl Scope {
    pub(super) fn new(db: &Connection, filter: &Filter) -> Result<Scope, StoreError> {
        let Filter { tool, agent, session, decision, resolution, outcome, since, until, .. } = filter;
        let mut scope = Scope {
            pieces: Vec::new(),
            shared: String::new(),
            rows: String::new(),
            values: Vec::new(),
            before: filter.before.unwrap_or(i64::MAX),
        };
        for (column, wanted) in
            [("agent", agent), ("decision", decision), ("resolution", resolution), ("outcome", outcome)]
        {
            if let Some(word) = wanted {
                let place = scope.bind(word.clone());
                scope.shared.push_str(&format!(" AND {column} = {place}"));
            }
        }
        if let Some(tool) = tool {
            scope.only_tools(tool);
        }
        if let Some(session) = session {
            let place = scope.bind(session.clone());
            scope.rows.push_str(&format!(" AND session = {place}"));
        }
        let (from, to) = (since.map_or(i64::MIN, |at| at.0), until.map_or(i64::MAX, |at| at.0));
        if since.is_some() || until.is_some() {
            scope.rows.push_str(&format!(" AND at >= {from} AND at < {to}"));
        }
        // Sessions are not counted: there is no end of them.
        let counted = session.is_none() && counts::are_kept(db)?;
        scope.pieces = if counted { scope.cut(db, from, to)? } else { scope.all() };
        Ok(scope)
    }

    fn bind(&mut self, value: String) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    fn only_tools(&mut self, tool: &str) {
        let pattern = Pattern::new(tool);
        let prefix = pattern.literal_prefix();
        let condition = if pattern.is_literal() {
            format!(" AND tool = {}", self.bind(prefix.to_owned()))
        } else if tool.strip_suffix('*') == Some(prefix) {
            // The usual pattern, without a way out of SQLite and back for each row.
            let place = self.bind(prefix.to_owned());
            format!(" AND substr(tool, 1, length({place})) = {place}")
        } else {
            format!(" AND {MATCHES}({}, tool)", self.bind(tool.to_owned()))
        };
        self.shared.push_str(&condition);
    }

    fn all(&self) -> Vec<ScopePart> {
        vec![ScopePart::Rows(i64::MIN, self.before)]
    }

    fn cut(&self, db: &Connection, from: i64, to: i64) -> Result<Vec<ScopePart>, StoreError> {
        let newest = counts::end(db)?;
        let sql = "SELECT bucket, first, last FROM spans WHERE bucket < ? ORDER BY bucket";
        let mut statement = db.prepare(sql)?;
        let mut rows = statement.query([newest >> BUCKET])?;
        let mut pieces: Vec<ScopePart> = Vec::new();
        while let Some(row) = rows.next()? {
            let (bucket, first, last): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (start, end) = (bucket << BUCKET, bucket.saturating_add(1) << BUCKET);
            if last < from || first >= to || start >= self.before {
                continue;
            }
            let whole = first >= from && last < to && end <= self.before;
            match (pieces.last_mut(), whole) {
                (Some(ScopePart::Whole(_, end)), true) if *end + 1 == bucket => *end = bucket,
                (_, true) => pieces.push(ScopePart::Whole(bucket, bucket)),
                (_, false) => pieces.push(ScopePart::Rows(start, end.min(self.before))),
            }
        }
        if newest < self.before {
            pieces.push(ScopePart::Rows(newest, self.before));
        }
        Ok(if pieces.len() > MAX_PIECES { self.all() } else { pieces })
    }

    /// A query for how many of these calls there are by `columns` of [`CELL`]; not summed up over its parts. Numbers
    /// are called `n`.
    pub(super) fn counts(&self, columns: &str) -> String {
        let shared = &self.shared;
        let summed =
            |n: &str, source: &str| format!("SELECT {columns}, {n} AS n FROM {source} GROUP BY {columns}");
        let arm = |piece: &ScopePart| match piece {
            // What is asked most: all there is, by bucket.
            ScopePart::Whole(first, last) if columns == "bucket" && shared.is_empty() => {
                format!("SELECT bucket, n FROM spans WHERE bucket BETWEEN {first} AND {last}")
            }
            ScopePart::Whole(first, last) => {
                summed("sum(n)", &format!("counts WHERE bucket BETWEEN {first} AND {last}{shared}"))
            }
            ScopePart::Rows(first, end) => {
                summed("count(*)", &format!("({})", self.finished(CELL, *first, *end)))
            }
        };
        let open = summed("count(*)", &format!("({})", self.under_way(CELL)));
        joined(self.pieces.iter().map(arm).chain([open]))
    }

    /// A query for `columns` of each of these calls, in no order.
    pub(super) fn calls(&self, columns: &str) -> String {
        let arm = |piece: &ScopePart| match piece {
            ScopePart::Whole(first, last) => {
                self.finished(columns, first << BUCKET, last.saturating_add(1) << BUCKET)
            }
            ScopePart::Rows(first, end) => self.finished(columns, *first, *end),
        };
        joined(self.pieces.iter().map(arm).chain([self.under_way(columns)]))
    }

    fn finished(&self, columns: &str, first: i64, end: i64) -> String {
        let Scope { shared, rows, .. } = self;
        format!(
            "SELECT {columns} FROM calls
             WHERE seq >= {first} AND seq < {end} AND outcome <> 'pending'{shared}{rows}"
        )
    }

    fn under_way(&self, columns: &str) -> String {
        let Scope { shared, rows, before, .. } = self;
        format!(
            "SELECT {columns} FROM calls WHERE seq IN (SELECT seq FROM open_calls)
             AND outcome = 'pending' AND seq < {before}{shared}{rows}"
        )
    }

    /// Conditions on a row of `calls` between these numbers.
    pub(super) fn between(&self, first: i64, end: i64) -> String {
        let Scope { shared, rows, before, .. } = self;
        format!("seq >= {first} AND seq < {}{shared}{rows}", end.min(*before))
    }

    /// Buckets in which there are such calls, newest first, and how many.
    pub(super) fn buckets(&self, db: &Connection) -> Result<Vec<(i64, u64)>, StoreError> {
        let sql = format!(
            "SELECT bucket, sum(n) FROM ({}) GROUP BY bucket ORDER BY bucket DESC",
            self.counts("bucket")
        );
        self.query(db, &sql, |row| Ok((row.get(0)?, number(row, 1)?)))
    }

    /// How many such calls there are.
    pub(super) fn total(&self, db: &Connection) -> Result<u64, StoreError> {
        Ok(self.buckets(db)?.iter().map(|(_, n)| n).sum())
    }

    /// Runs a query in which the scope's conditions occur.
    pub(super) fn query<T>(
        &self,
        db: &Connection,
        sql: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = db.prepare(sql)?;
        let rows = statement.query_map(params_from_iter(&self.values), read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// A sum of counts.
pub(super) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}

fn joined(arms: impl Iterator<Item = String>) -> String {
    arms.map(|arm| format!("SELECT * FROM ({arm})")).collect::<Vec<_>>().join(" UNION ALL ")
}

/// The SQL function `tool_matches(pattern, name)`.
const MATCHES: &str = "tool_matches";

/// Gives a connection [`MATCHES`].
pub(super) fn add_functions(db: &Connection) -> rusqlite::Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    db.create_scalar_function(MATCHES, 2, flags, |call| {
        let pattern = call.get_or_create_aux(0, |text| text.as_str().map(Pattern::new))?;
        Ok(pattern.matches(call.get_raw(1).as_str()?))
    })
}

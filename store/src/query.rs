//! What the store is asked.
//!
//! Every answer is bounded, and says so where something is left out. Times are seconds since 1970, UTC; a day is a UTC day.

use crate::record::{self, Measures, Sort};
use crate::schema::{self, day, measures};
use crate::{Store, StoreError, merge};
use rusqlite::params_from_iter;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// How counts are added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// By hour; at most [`LONGEST_BY_HOUR`] of them.
    Hour,
    /// By UTC day.
    Day,
    /// All of it together.
    #[default]
    Whole,
}

/// How many seconds can be asked for by the hour: a fortnight and a day.
pub const LONGEST_BY_HOUR: i64 = 15 * 86_400;
/// Rows of an answer; more are left out, those with the fewest flows first.
pub const MOST_ROWS: usize = 20_000;
/// Kinds of records that tell of a loss.
pub(crate) const GAPS: [&str; 2] = ["gap", "log_full"];
/// Answers that are kept until what they tell has changed, which is once an hour: everybody who looks asks the same. Long ones are not.
const KEPT: usize = 8;
const KEPT_ROWS: usize = 4096;
/// Entries that a search gives at once.
pub const MOST_FOUND: usize = 500;

/// What is asked about counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    /// The beginning, seconds since 1970.
    pub from: i64,
    /// The end; it does not belong to it.
    pub to: i64,
    /// How counts are added up.
    pub step: Step,
    /// Only by category: groups and services are added up.
    pub by_category: bool,
    /// Only this group.
    pub group: Option<String>,
    /// Only this category.
    pub category: Option<String>,
    /// Only this service.
    pub service: Option<String>,
}

/// Sums.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Totals {
    /// The rows, by time, then most flows first.
    pub rows: Vec<Row>,
    /// How many rows more there are.
    pub left_out: usize,
    /// What could be seen of the same span and what not.
    pub blindness: Blindness,
    /// Records of the span that tell of a loss.
    pub gaps: u64,
}

/// A sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Row {
    /// When the hour or day begins; `None` where all of it is added up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub start: Option<i64>,
    /// Whether it is about the groups of a charter: else about the whole network, while there was none.
    pub groups: bool,
    /// By the hour: whether it is what the hours of that day could not tell.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub rest_of_day: bool,
    /// The group; `None`: all together.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<String>,
    /// The category; `None`: the rest of a group.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub category: Option<String>,
    /// Key of the service, if one is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<String>,
    /// Whether it is what is left of group or category.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub rest: bool,
    /// The lower end of the range of people who stand behind it: of several hours, the most at once. 0 where nobody is told apart.
    pub people: u64,
    /// How many must.
    pub k: u64,
    /// Flows.
    pub flows: u64,
    /// Of them, blocked; of groups about, since only shares are told.
    pub blocked: u64,
    /// Bytes from clients.
    pub bytes_up: u64,
    /// Bytes to clients.
    pub bytes_down: u64,
    /// Visits.
    pub visits: u64,
    /// Seconds in which somebody was active, of all together.
    pub active_s: u64,
    /// Probable uploads, where they are told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uploads: Option<u64>,
    /// Their bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upload_bytes: Option<u64>,
    /// Large ones, where they are told; they are not among the others.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub large_uploads: Option<u64>,
    /// Their bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub large_upload_bytes: Option<u64>,
}

/// What could be seen in a span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Blindness {
    /// Flows with a verdict.
    pub flows: u64,
    /// Flows that were not looked at.
    pub not_looked_at: u64,
    /// Flows whose name was too weak a hint for what people do.
    pub too_weak: u64,
    /// Flows with a name, by how it is known.
    pub named: Vec<Word>,
    /// Flows without, by reason.
    pub unnamed: Vec<Word>,
    /// Of what is told of groups, per cent with a name: the mean of the hours that tell it.
    pub told_named_percent: Vec<Word>,
    /// Per cent without.
    pub told_unnamed_percent: Vec<Word>,
}

/// A word and its number, the greatest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Word {
    /// The word.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// What records are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Search {
    /// Of these kinds only; empty: of all.
    pub kinds: Vec<String>,
    /// Only what people who run the gateway did.
    pub acts: bool,
    /// Written at this second or later.
    pub from: Option<i64>,
    /// Written before it.
    pub to: Option<i64>,
    /// Those before this entry, for the next page: [`Found::next`].
    pub before: Option<u64>,
    /// How many, up to [`MOST_FOUND`].
    pub limit: usize,
}

/// What was found, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Found {
    /// Where the records are.
    pub entries: Vec<Entry>,
    /// There are more: to be asked for as `before`.
    pub next: Option<u64>,
}

/// Where a record is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Entry {
    /// Its number in the log.
    pub seq: u64,
    /// Its kind; `other` for one that may not be shown.
    pub kind: String,
    /// When it was written, milliseconds since 1970, if anybody knew.
    pub wall_ms: Option<i64>,
}

/// Sealed records, of which nobody is told but how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sessions {
    /// The UTC day on which they were written, as seconds since 1970.
    pub day: i64,
    /// What for.
    pub purpose: String,
    /// How many.
    pub count: u64,
}

/// What there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reach {
    /// Entries of the log that were taken: all before this one.
    pub next: u64,
    /// Records that can be searched.
    pub records: u64,
    /// When the oldest hour begins, seconds since 1970.
    pub oldest: Option<i64>,
    /// When the newest begins.
    pub newest: Option<i64>,
    /// Bytes on disk, or in memory.
    pub bytes: u64,
}

/// Answers that were given.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Of what they are: [`crate::State::changes`].
    changes: u64,
    given: VecDeque<(Question, Totals)>,
}

/// Where a span is looked up: in hours at its ends, in days between.
struct Parts {
    hours: [(i64, i64); 2],
    days: (i64, i64),
}

/// Sums of what is read in order of time: a column for each cell of the answer, of one bucket at a time. Hashing each row would cost as
/// much as reading it.
struct Sums {
    /// The column of each cell of the store; none of what was not asked for.
    columns: Vec<Option<usize>>,
    /// What the columns are about.
    cells: Vec<crate::Cell>,
    bucket: i64,
    /// The bucket that is being added up, and which of it there are.
    open: Vec<Measures>,
    there: Vec<usize>,
    is_there: Vec<bool>,
    done: Vec<(i64, usize, Measures)>,
}

impl Sums {
    fn of(store: &Store, question: &Question) -> Self {
        let fits = |wanted: &Option<String>, is: i64| {
            wanted.as_ref().is_none_or(|wanted| store.words.get(&is) == Some(wanted))
        };
        let mut columns = vec![None; store.cell_of.len() + 1];
        let mut cells = Vec::new();
        let mut column_of: HashMap<crate::Cell, usize> = HashMap::new();
        for (id, cell) in &store.cell_of {
            if !fits(&question.group, cell.group)
                || !fits(&question.category, cell.category)
                || !fits(&question.service, cell.service)
            {
                continue;
            }
            // Hours and rests of days are one sum where they are not told apart.
            let span = if question.step == Step::Hour { cell.span } else { 0 };
            let cell = if question.by_category {
                crate::Cell { group: 0, service: 0, rest: 0, ..*cell }
            } else {
                *cell
            };
            let cell = crate::Cell { span, ..cell };
            let column = *column_of.entry(cell).or_insert_with(|| {
                cells.push(cell);
                cells.len() - 1
            });
            if let Some(place) = usize::try_from(*id).ok().and_then(|id| columns.get_mut(id)) {
                *place = Some(column);
            }
        }
        let n = cells.len();
        let open = vec![Measures::default(); n];
        let (there, is_there, done) = (Vec::new(), vec![false; n], Vec::new());
        Self { columns, cells, bucket: 0, open, there, is_there, done }
    }

    /// Where a cell is added up; none if it was not asked for.
    fn column(&self, cell: i64) -> Option<usize> {
        usize::try_from(cell).ok().and_then(|cell| *self.columns.get(cell)?)
    }

    fn add(&mut self, bucket: i64, column: usize, more: &Measures) {
        if bucket != self.bucket {
            self.close();
            self.bucket = bucket;
        }
        let (Some(sum), Some(is_there)) = (self.open.get_mut(column), self.is_there.get_mut(column)) else {
            return;
        };
        if !*is_there {
            *is_there = true;
            self.there.push(column);
        }
        merge(sum, more);
    }

    fn close(&mut self) {
        for column in self.there.drain(..) {
            if let (Some(sum), Some(is_there)) = (self.open.get_mut(column), self.is_there.get_mut(column)) {
                *is_there = false;
                self.done.push((self.bucket, column, std::mem::take(sum)));
            }
        }
    }

    /// What the columns are about, and all sums by bucket and column.
    fn end(mut self) -> (Vec<crate::Cell>, Vec<(i64, usize, Measures)>) {
        self.close();
        (self.cells, self.done)
    }
}

impl Parts {
    fn of(question: &Question) -> Self {
        let (from, to) = (question.from.max(0), question.to.max(0));
        let (first, end) = (day(from.saturating_add(86_399)), day(to));
        if question.step == Step::Hour || first >= end {
            return Self { hours: [(from, to), (0, 0)], days: (0, 0) };
        }
        Self { hours: [(from, first * 86_400), (end * 86_400, to)], days: (first, end) }
    }
}

impl Store {
    /// Counts of a span, and its blindness.
    pub fn totals(&self, question: &Question) -> Result<Totals, StoreError> {
        if question.from > question.to {
            return Err(StoreError::Question("the span ends before it begins".to_owned()));
        }
        if question.step == Step::Hour && question.to.saturating_sub(question.from) > LONGEST_BY_HOUR {
            return Err(StoreError::Question("by the hour, at most 15 days can be asked for".to_owned()));
        }
        if let Some(totals) = self.given(question) {
            return Ok(totals);
        }
        let parts = Parts::of(question);
        let mut sums = Sums::of(self, question);
        let bucket = |start: i64| match question.step {
            Step::Hour => start,
            Step::Day => day(start) * 86_400,
            Step::Whole => 0,
        };
        // In order of time: hours up to the first whole day, days, hours after the last.
        let [before, after] = parts.hours;
        let mut hours = self.conn.prepare_cached("SELECT * FROM tally WHERE start >= ? AND start < ?")?;
        let mut days = self.conn.prepare_cached("SELECT * FROM day WHERE day >= ? AND day < ?")?;
        let mut add_hours = |sums: &mut Sums, (from, to): (i64, i64)| -> Result<(), StoreError> {
            if from >= to {
                return Ok(());
            }
            let mut rows = hours.query([from, to])?;
            while let Some(row) = rows.next()? {
                if let Some(column) = sums.column(row.get(2)?) {
                    sums.add(bucket(row.get(0)?), column, &measures(row, 3)?);
                }
            }
            Ok(())
        };
        add_hours(&mut sums, before)?;
        let mut rows = days.query([parts.days.0, parts.days.1])?;
        while let Some(row) = rows.next()? {
            if let Some(column) = sums.column(row.get(1)?) {
                sums.add(bucket(row.get::<_, i64>(0)? * 86_400), column, &measures(row, 2)?);
            }
        }
        add_hours(&mut sums, after)?;
        let (rows, left_out) = self.rows(question, sums);
        let totals =
            Totals { rows, left_out, blindness: self.blindness(&parts)?, gaps: self.gaps(question)? };
        self.keep(question, &totals);
        Ok(totals)
    }

    /// What was answered to this question, if it is still so.
    fn given(&self, question: &Question) -> Option<Totals> {
        let mut answers = self.answers.borrow_mut();
        if answers.changes != self.state.changes {
            answers.changes = self.state.changes;
            answers.given.clear();
        }
        answers.given.iter().find(|(asked, _)| asked == question).map(|(_, totals)| totals.clone())
    }

    fn keep(&self, question: &Question, totals: &Totals) {
        if totals.rows.len() <= KEPT_ROWS {
            let mut answers = self.answers.borrow_mut();
            answers.given.truncate(KEPT - 1);
            answers.given.push_front((question.clone(), totals.clone()));
        }
    }

    fn rows(&self, question: &Question, sums: Sums) -> (Vec<Row>, usize) {
        let (cells, sums) = sums.end();
        let word = |id: i64| self.words.get(&id).cloned();
        let mut rows: Vec<Row> = sums
            .into_iter()
            .filter_map(|(start, column, m)| Some((start, *cells.get(column)?, m)))
            .map(|(start, cell, m)| {
                let n = |at: usize| m.get(at).copied().unwrap_or_default().max(0).cast_unsigned();
                let has = |what: i64, at: usize| (n(record::HAS).cast_signed() & what != 0).then(|| n(at));
                Row {
                    start: (question.step != Step::Whole).then_some(start),
                    groups: cell.whose != 0,
                    rest_of_day: cell.span != 0,
                    group: word(cell.group),
                    category: word(cell.category),
                    service: word(cell.service),
                    rest: cell.rest != 0,
                    people: n(record::PEOPLE),
                    k: n(record::K),
                    flows: n(record::FLOWS),
                    blocked: n(record::BLOCKED),
                    bytes_up: n(record::UP),
                    bytes_down: n(record::DOWN),
                    visits: n(record::VISITS),
                    active_s: n(record::ACTIVE_S),
                    uploads: has(record::HAS_UPLOADS, record::UPLOADS),
                    upload_bytes: has(record::HAS_UPLOADS, record::UPLOAD_BYTES),
                    large_uploads: has(record::HAS_LARGE, record::LARGE),
                    large_upload_bytes: has(record::HAS_LARGE, record::LARGE_BYTES),
                }
            })
            .collect();
        let left_out = rows.len().saturating_sub(MOST_ROWS);
        if left_out > 0 {
            rows.sort_by(|a, b| b.flows.cmp(&a.flows).then_with(|| key(a).cmp(&key(b))));
            rows.truncate(MOST_ROWS);
        }
        rows.sort_by(|a, b| (a.start, b.flows).cmp(&(b.start, a.flows)).then_with(|| key(a).cmp(&key(b))));
        (rows, left_out)
    }

    fn blindness(&self, parts: &Parts) -> Result<Blindness, StoreError> {
        let mut sums: BTreeMap<(i64, i64), u64> = BTreeMap::new();
        let hours = "SELECT sort, word, sum(n) FROM sight WHERE start >= ? AND start < ? GROUP BY sort, word";
        let days = "SELECT sort, word, sum(n) FROM sight_day WHERE day >= ? AND day < ? GROUP BY sort, word";
        let spans = parts.hours.iter().map(|span| (hours, *span)).chain([(days, parts.days)]);
        for (sql, (from, to)) in spans.filter(|(_, (from, to))| from < to) {
            let mut rows = self.conn.prepare_cached(sql)?;
            let mut rows = rows.query([from, to])?;
            while let Some(row) = rows.next()? {
                let n = row.get::<_, i64>(2)?.max(0).cast_unsigned();
                let sum = sums.entry((row.get(0)?, row.get(1)?)).or_default();
                *sum = sum.saturating_add(n);
            }
        }
        let mut seen = Blindness::default();
        let mut hours = 0;
        for ((sort, word), count) in sums {
            let Some(name) = self.words.get(&word).cloned() else { continue };
            match (Sort::from_number(sort), name.as_str()) {
                (Some(Sort::Flows), "flows") => seen.flows = count,
                (Some(Sort::Flows), "not_looked_at") => seen.not_looked_at = count,
                (Some(Sort::Flows), "too_weak") => seen.too_weak = count,
                (Some(Sort::Flows), "hours") => hours = count,
                (Some(Sort::Named), _) => seen.named.push(Word { name, count }),
                (Some(Sort::Unnamed), _) => seen.unnamed.push(Word { name, count }),
                (Some(Sort::ToldNamed), _) => seen.told_named_percent.push(Word { name, count }),
                (Some(Sort::ToldUnnamed), _) => seen.told_unnamed_percent.push(Word { name, count }),
                _ => {}
            }
        }
        for shares in [&mut seen.told_named_percent, &mut seen.told_unnamed_percent] {
            shares.iter_mut().for_each(|share| share.count = (share.count + hours / 2) / hours.max(1));
            shares.retain(|share| share.count > 0);
        }
        for words in
            [&mut seen.named, &mut seen.unnamed, &mut seen.told_named_percent, &mut seen.told_unnamed_percent]
        {
            words.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        }
        Ok(seen)
    }

    fn gaps(&self, question: &Question) -> Result<u64, StoreError> {
        let ms = |s: i64| s.saturating_mul(1000);
        let mut gaps = 0;
        for kind in GAPS {
            let Some(kind) = self.names.get(kind) else { continue };
            let sql = "SELECT count(*) FROM record WHERE kind = ? AND wall >= ? AND wall < ?";
            let n: i64 = self
                .conn
                .prepare_cached(sql)?
                .query_row([*kind, ms(question.from).max(1), ms(question.to)], |row| row.get(0))?;
            gaps += n.max(0).cast_unsigned();
        }
        Ok(gaps)
    }

    /// Where records are, the newest first: by number, or by the time at which they were written where a time is asked for.
    pub fn search(&self, search: &Search) -> Result<Found, StoreError> {
        let limit = search.limit.clamp(1, MOST_FOUND);
        let timed = search.from.is_some() || search.to.is_some();
        let mut found: Vec<(i64, i64, i64)> = Vec::new();
        let kinds: Vec<Option<i64>> = if search.kinds.is_empty() {
            vec![None]
        } else {
            // One that never came up has no number.
            search.kinds.iter().filter_map(|kind| self.names.get(kind)).map(|id| Some(*id)).collect()
        };
        let before = search.before.map(|seq| i64::try_from(seq).unwrap_or(i64::MAX));
        let before_wall = match before.filter(|_| timed) {
            None => None,
            Some(seq) => {
                let mut wall = self.conn.prepare_cached("SELECT wall FROM record WHERE seq = ?")?;
                let mut wall = wall.query([seq])?;
                match wall.next()? {
                    Some(row) => Some(row.get::<_, i64>(0)?),
                    // It was deleted meanwhile, and so was what is older.
                    None => return Ok(Found::default()),
                }
            }
        };
        for kind in kinds {
            let mut conditions = vec!["1"];
            let mut values = Vec::new();
            if let Some(kind) = kind {
                conditions.push("kind = ?");
                values.push(kind);
            }
            if timed {
                conditions.extend(["wall >= ?", "wall < ?"]);
                // 0 is no time.
                values.push(search.from.unwrap_or(0).saturating_mul(1000).max(1));
                values.push(search.to.map_or(i64::MAX, |to| to.saturating_mul(1000)));
            }
            match (before, before_wall) {
                (Some(seq), Some(wall)) => {
                    conditions.push("(wall, seq) < (?, ?)");
                    values.extend([wall, seq]);
                }
                (Some(seq), None) => {
                    conditions.push("seq < ?");
                    values.push(seq);
                }
                (None, _) => {}
            }
            if search.acts {
                conditions.push("act = 1");
            }
            let conditions = conditions.join(" AND ");
            let order = if timed { "wall DESC, seq DESC" } else { "seq DESC" };
            let sql = format!(
                "SELECT wall, seq, kind FROM record WHERE {conditions} ORDER BY {order} LIMIT {}",
                limit + 1
            );
            let mut rows = self.conn.prepare_cached(&sql)?;
            let mut rows = rows.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                found.push((row.get(0)?, row.get(1)?, row.get(2)?));
            }
        }
        if timed {
            found.sort_unstable_by_key(|(wall, seq, _)| std::cmp::Reverse((*wall, *seq)));
        } else {
            found.sort_unstable_by_key(|(_, seq, _)| std::cmp::Reverse(*seq));
        }
        found.dedup();
        let more = found.len() > limit;
        found.truncate(limit);
        let entries = found.iter().map(|(wall, seq, kind)| Entry {
            seq: seq.cast_unsigned(),
            kind: self.words.get(kind).cloned().unwrap_or_default(),
            wall_ms: Some(*wall).filter(|wall| *wall > 0),
        });
        let entries: Vec<Entry> = entries.collect();
        let next = entries.last().filter(|_| more).map(|entry| entry.seq);
        Ok(Found { entries, next })
    }

    /// How many sealed records there were on the days of a span, by purpose.
    pub fn sessions(&self, from: i64, to: i64) -> Result<Vec<Sessions>, StoreError> {
        let sql = "SELECT day, purpose, sum(n) FROM session WHERE day >= ? AND day < ? GROUP BY day, purpose ORDER BY day, purpose";
        let mut rows = self.conn.prepare_cached(sql)?;
        let rows = rows.query_map([day(from), day(to.saturating_add(86_399))], |row| {
            let (day, purpose, count): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let purpose = self.words.get(&purpose).cloned().unwrap_or_default();
            Ok(Sessions { day: day.saturating_mul(86_400), purpose, count: count.max(0).cast_unsigned() })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The kinds of records that came up.
    pub fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> =
            self.names.keys().filter(|name| record::is_shown(name)).cloned().collect();
        kinds.sort_unstable();
        kinds
    }

    /// What there is.
    pub fn reach(&self) -> Result<Reach, StoreError> {
        let edge =
            |sql: &str| self.conn.prepare_cached(sql)?.query_row([], |row| row.get::<_, Option<i64>>(0));
        let pages = |pragma: &str| self.conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        Ok(Reach {
            next: self.state.next,
            records: self.state.records.max(0).cast_unsigned(),
            oldest: edge("SELECT min(start) FROM tally WHERE start >= 0")?,
            newest: edge("SELECT max(start) FROM tally WHERE start >= 0")?,
            bytes: (pages("page_count")? * pages("page_size")?).max(0).cast_unsigned(),
        })
    }

    /// The whole quota in units and rows, for whoever wants to know how full it is: what is used and what there may be.
    pub fn fill(&self) -> [(i64, i64); 2] {
        let (units, records) = schema::bounds(self.options.quota_bytes);
        [(self.state.units, units), (self.state.records, records)]
    }
}

/// What rows with the same flows are ordered by.
fn key(row: &Row) -> impl Ord + '_ {
    (row.start, row.groups, &row.group, &row.category, &row.service, row.rest, row.rest_of_day)
}

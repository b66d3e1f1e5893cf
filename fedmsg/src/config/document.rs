//! TOML as a tree in which every value knows its place, and how the trees of several files become one.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use super::problem::{Place, Problem, ProblemKind, Source};

/// A table; each key with its place.
pub(super) type Table = BTreeMap<String, Entry>;

/// A key's place and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub place: Place,
    pub node: Node,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub value: Value,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    /// As it was written when it does not fit.
    Integer(Result<i64, String>),
    Float(String),
    Boolean(bool),
    Time(Datetime),
    List(Vec<Node>),
    Table(Table),
    /// From the environment or a flag: whoever asks for it says what it should be.
    Raw(String),
}

impl Value {
    /// What it is, for an error.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Text(_) | Value::Raw(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number with a point",
            Value::Boolean(_) => "a boolean",
            Value::Time(_) => "a time",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// As TOML on one line, for people.
    pub fn render(&self) -> String {
        match self {
            Value::Text(text) | Value::Raw(text) => toml::Value::from(text.as_str()).to_string(),
            Value::Integer(Ok(number)) => number.to_string(),
            Value::Integer(Err(text)) | Value::Float(text) => text.clone(),
            Value::Boolean(value) => value.to_string(),
            Value::Time(time) => time.to_string(),
            Value::List(list) => {
                let items: Vec<String> = list.iter().map(|node| node.value.render()).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Table(_) => "{…}".into(),
        }
    }

    /// Whether it is an array of tables, which appends when files are merged. An empty list is one too:
    /// `deny = []` must not take away the rules of other files.
    pub fn is_tables(&self) -> bool {
        let table = |node: &Node| matches!(node.value, Value::Table(_));
        matches!(self, Value::List(list) if list.iter().all(table))
    }
}

/// Reads a file; all its syntax errors at once, or its table.
pub(super) fn parse(source: &Source, text: &str) -> Result<Table, Vec<Problem>> {
    let reader = Reader { source, text, lines: line_starts(text) };
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(reader.table(document.get_ref()));
    }
    Err(errors.iter().map(|error| reader.syntax(error)).collect())
}

/// Puts `later` over `earlier`: tables merge, arrays of tables append, anything else is replaced.
pub(super) fn merge(earlier: &mut Table, later: Table) {
    for (key, entry) in later {
        let Some(known) = earlier.get_mut(&key) else {
            earlier.insert(key, entry);
            continue;
        };
        let appends = known.node.value.is_tables() && entry.node.value.is_tables();
        match (&mut known.node.value, entry.node.value) {
            (Value::Table(known), Value::Table(table)) => merge(known, table),
            (Value::List(known), Value::List(list)) if appends => known.extend(list),
            (_, value) => {
                known.place = entry.place;
                known.node = Node { value, place: entry.node.place };
            }
        }
    }
}

/// A key as it stands in a dotted path: in quotes when it has a dot or anything else that is not bare.
pub(super) fn dotted(path: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let quoted = key.is_empty() || !key.chars().all(bare);
    let key = if quoted { format!("{key:?}") } else { key.into() };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// One file while it is read.
struct Reader<'a> {
    source: &'a Source,
    text: &'a str,
    lines: Vec<usize>,
}

impl Reader<'_> {
    fn place(&self, at: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..at).unwrap_or_default();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let column = number(before.chars().count() + 1);
        Place { source: self.source.clone(), line: number(line), column }
    }

    fn syntax(&self, error: &toml::de::Error) -> Problem {
        let at = error.span().map_or(self.text.len(), |span| span.start);
        let kind = ProblemKind::Syntax(error.message().into());
        Problem { place: self.place(at), key: String::new(), kind }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let entry = |(key, value): (&Spanned<_>, _)| {
            let place = self.place(key.span().start);
            let key: &std::borrow::Cow<'_, str> = key.get_ref();
            (key.to_string(), Entry { place, node: self.node(value) })
        };
        table.iter().map(entry).collect()
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let place = self.place(value.span().start);
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => Value::Integer(
                i64::from_str_radix(number.as_str(), number.radix())
                    .map_err(|_| number.to_string()),
            ),
            DeValue::Float(number) => Value::Float(number.as_str().into()),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(time) => Value::Time(*time),
            DeValue::Array(list) => Value::List(list.iter().map(|node| self.node(node)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { value, place }
    }
}

/// Where the lines begin.
fn line_starts(text: &str) -> Vec<usize> {
    let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
    std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Table {
        let source = Source::File(std::path::Path::new(name).into());
        parse(&source, text).expect(text)
    }

    fn get<'a>(table: &'a Table, path: &str) -> &'a Node {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let node = &table.get(first).expect(path).node;
        match &node.value {
            Value::Table(table) if !rest.is_empty() => get(table, rest),
            _ => node,
        }
    }

    #[test]
    fn tables_merge_arrays_of_tables_append_and_the_rest_is_replaced() {
        let mut all = read("1", "[a]\nx = 1\ny = [1, 2]\n[[r]]\nn = 1\n[t]\nz = 1\n");
        merge(&mut all, read("2", "[a]\ny = [3]\nw = 'new'\n[[r]]\nn = 2\n[[r]]\nn = 3\n"));
        merge(&mut all, read("3", "t = 5\nr = []\n"));
        for (path, value, origin) in [
            ("a.x", "1", "1:2"),
            ("a.y", "[3]", "2:2"),
            ("a.w", "\"new\"", "2:3"),
            ("t", "5", "3:1"),
            ("r", "[{…}, {…}, {…}]", "1:4"),
        ] {
            let node = get(&all, path);
            assert_eq!((node.value.render().as_str(), &*node.place.origin()), (value, origin));
        }
    }

    #[test]
    fn a_syntax_error_has_a_line_and_a_column_in_characters() {
        let source = Source::File(std::path::Path::new("f").into());
        for (text, place) in [
            ("a = 1\nb = \"ü\" x\n", "f:2:9"),
            ("a = 1\na = 2\n", "f:2:1"),
            ("[a\n", "f:1:3"),
            ("a = ", "f:1:5"),
        ] {
            let problems = parse(&source, text).expect_err(text);
            assert_eq!(problems[0].place.to_string(), place, "{text}: {}", problems[0]);
        }
        assert_eq!(parse(&source, "a = \nb = 1\nc = \n").expect_err("two").len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_odd_to_be_refused(text in "([a\\[\\]{}='\",.ü\n]|\\PC|[0-9]){0,60}") {
            let _ = parse(&Source::ZeroConfiguration, &text);
        }
    }
}

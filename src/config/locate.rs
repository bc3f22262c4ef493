//! From a key path to a line of the campaign file.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::domain::problem::Problem;

/// 1-based.
pub fn line_of_offset(source: &str, offset: usize) -> u64 {
    1 + source.as_bytes()[..offset.min(source.len())].iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Adds the file and, where the problem's field (or the nearest table around it) stands in the source, its line.
pub fn in_toml(problem: Problem, source: &str, path: &Path) -> Problem {
    let line = problem.line.or_else(|| {
        let root = DeTable::parse(source).ok()?;
        let offset = offset_of(root.get_ref(), problem.field.as_deref()?)?;
        Some(line_of_offset(source, offset))
    });
    Problem { line, ..problem }.in_file(path)
}

/// `a.b[1].c` -> where the value (or the last part of the path that exists) starts.
fn offset_of(root: &DeTable<'_>, field: &str) -> Option<usize> {
    let mut parts = field.split(['.', '[']).map(|part| part.trim_end_matches(']'));
    let (key, mut value) = root.get_key_value(parts.next()?)?;
    let mut offset = key.span().start;
    for part in parts {
        let next = match value.get_ref() {
            DeValue::Table(table) => table.get_key_value(part).map(|(key, value)| (key.span().start, value)),
            DeValue::Array(items) => {
                part.parse::<usize>().ok().and_then(|index| items.get(index)).map(|item| (item.span().start, item))
            }
            _ => None,
        };
        let Some((start, inner)) = next else { break };
        offset = start;
        value = inner;
    }
    Some(offset)
}

//! What the host knows of a function: its folder's `function.json`.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
pub struct Function {
    pub bindings: Vec<Binding>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub direction: Direction,
    pub data_type: Option<String>,
    pub queue_name: Option<String>,
    pub route: Option<String>,
    /// Of a blob, with its container.
    pub path: Option<String>,
    pub methods: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    In,
    Out,
    InOut,
}

impl Function {
    /// All of a package, by name.
    pub fn all_of(package: &Path) -> BTreeMap<String, Self> {
        let mut functions = BTreeMap::new();
        for entry in fs::read_dir(package).unwrap() {
            let folder = entry.unwrap().path();
            let file = folder.join("function.json");
            if file.is_file() {
                let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
                let text = fs::read_to_string(&file).unwrap();
                let function = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
                functions.insert(name, function);
            }
        }
        functions
    }

    pub fn trigger(&self) -> &Binding {
        let mut triggers = self.bindings.iter().filter(|binding| binding.kind.ends_with("Trigger"));
        let trigger = triggers.next().expect("a function has a trigger");
        assert!(triggers.next().is_none(), "a function has one trigger");
        trigger
    }

    pub fn outputs(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.iter().filter(|binding| binding.direction == Direction::Out)
    }

    /// Whether calls are handed on as they came in, where host.json asks for it: one trigger and one answer, and nothing
    /// else.
    pub fn is_forwarded(&self) -> bool {
        let kinds: Vec<_> = self.bindings.iter().map(|binding| (binding.kind.as_str(), binding.direction)).collect();
        matches!(
            kinds[..],
            [("httpTrigger", Direction::In), ("http", Direction::Out)]
                | [("http", Direction::Out), ("httpTrigger", Direction::In)]
        )
    }
}

impl Binding {
    pub fn is_binary(&self) -> bool {
        self.data_type.as_deref() == Some("binary")
    }
}

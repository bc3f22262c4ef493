//! What an index is: its fields, and how they are searched.

use serde::{Serialize, Serializer};

/// Every index's key.
pub const KEY: &str = "key";

const PROFILE: &str = "cosine";

/// The name of the configuration by which the semantic ranker reads.
pub(super) const SEMANTIC: &str = "meaning";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Lower-case letters, digits and hyphens.
    pub name: String,
    /// Beside its key.
    pub fields: Vec<Field>,
    /// What the semantic ranker reads.
    pub meaning: Meaning,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Returned, and nothing else.
    Note,
    /// Compared as a whole.
    Name,
    Names,
    Flag,
    Moment,
    /// Searched by its words.
    Words {
        /// How they are told apart, e.g. `en.lucene`.
        analyzer: &'static str,
    },
    /// Searched by its neighbours, by the angle between them. Never returned.
    Vector {
        dimensions: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    pub title: &'static str,
    pub text: &'static str,
    pub keywords: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Definition<'a> {
    name: &'a str,
    fields: Vec<Described>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector_search: Option<VectorSearch>,
    semantic: Semantic,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Described {
    name: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    key: bool,
    searchable: bool,
    filterable: bool,
    sortable: bool,
    facetable: bool,
    retrievable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    analyzer: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector_search_profile: Option<&'static str>,
}

#[derive(Serialize)]
struct VectorSearch {
    profiles: [Profile; 1],
    algorithms: [Algorithm; 1],
}

#[derive(Serialize)]
struct Profile {
    name: &'static str,
    algorithm: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Algorithm {
    name: &'static str,
    kind: &'static str,
    hnsw_parameters: Hnsw,
}

#[derive(Serialize)]
struct Hnsw {
    metric: &'static str,
}

#[derive(Serialize)]
struct Semantic {
    configurations: [Configuration; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    name: &'static str,
    prioritized_fields: Prioritized,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Prioritized {
    title_field: Named,
    prioritized_content_fields: [Named; 1],
    prioritized_keywords_fields: [Named; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    field_name: &'static str,
}

impl Serialize for Index {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let key = Described {
            name: KEY,
            kind: "Edm.String",
            key: true,
            filterable: true,
            sortable: true,
            retrievable: true,
            ..Described::default()
        };
        let has_vectors = self.fields.iter().any(|field| matches!(field.kind, Kind::Vector { .. }));
        let named = |field_name| Named { field_name };
        let Meaning { title, text, keywords } = self.meaning;
        let prioritized_fields = Prioritized {
            title_field: named(title),
            prioritized_content_fields: [named(text)],
            prioritized_keywords_fields: [named(keywords)],
        };
        let definition = Definition {
            name: &self.name,
            fields: std::iter::once(key).chain(self.fields.iter().map(Field::described)).collect(),
            vector_search: has_vectors.then_some(VectorSearch {
                profiles: [Profile { name: PROFILE, algorithm: "hnsw" }],
                algorithms: [Algorithm { name: "hnsw", kind: "hnsw", hnsw_parameters: Hnsw { metric: "cosine" } }],
            }),
            semantic: Semantic { configurations: [Configuration { name: SEMANTIC, prioritized_fields }] },
        };
        definition.serialize(serializer)
    }
}

impl Field {
    /// Whatever a field may be and does not say is switched off: the service's defaults cost storage.
    fn described(&self) -> Described {
        let plain = Described { name: self.name, kind: "Edm.String", retrievable: true, ..Described::default() };
        match self.kind {
            Kind::Note => plain,
            Kind::Name => Described { filterable: true, ..plain },
            Kind::Names => Described { kind: "Collection(Edm.String)", filterable: true, ..plain },
            Kind::Flag => Described { kind: "Edm.Boolean", filterable: true, ..plain },
            Kind::Moment => Described { kind: "Edm.DateTimeOffset", filterable: true, ..plain },
            Kind::Words { analyzer } => Described { searchable: true, analyzer: Some(analyzer), ..plain },
            Kind::Vector { dimensions } => Described {
                kind: "Collection(Edm.Single)",
                searchable: true,
                retrievable: false,
                stored: Some(false),
                dimensions: Some(dimensions),
                vector_search_profile: Some(PROFILE),
                ..plain
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn index(fields: Vec<Field>) -> Value {
        let meaning = Meaning { title: "title", text: "text", keywords: "keywords" };
        serde_json::to_value(Index { name: "passages".into(), fields, meaning }).unwrap()
    }

    #[test]
    fn an_index_has_a_key_its_fields_and_what_the_rankers_need() {
        let written = index(vec![
            Field { name: "audience", kind: Kind::Names },
            Field { name: "text", kind: Kind::Words { analyzer: "en.lucene" } },
            Field { name: "vector", kind: Kind::Vector { dimensions: 3 } },
        ]);
        let fields = written["fields"].as_array().unwrap();
        assert_eq!(fields[0]["name"], "key");
        assert!(fields.iter().skip(1).all(|field| field["key"] == false));
        assert_eq!(fields[1]["type"], "Collection(Edm.String)");
        assert_eq!((&fields[2]["searchable"], &fields[2]["analyzer"]), (&json!(true), &json!("en.lucene")));
        assert_eq!(
            fields[3],
            json!({"name": "vector", "type": "Collection(Edm.Single)", "key": false, "searchable": true,
                   "filterable": false, "sortable": false, "facetable": false, "retrievable": false,
                   "stored": false, "dimensions": 3, "vectorSearchProfile": "cosine"})
        );
        assert_eq!(
            written["vectorSearch"],
            json!({"profiles": [{"name": "cosine", "algorithm": "hnsw"}],
                   "algorithms": [{"name": "hnsw", "kind": "hnsw", "hnswParameters": {"metric": "cosine"}}]})
        );
        assert_eq!(
            written["semantic"]["configurations"],
            json!([{"name": "meaning", "prioritizedFields": {
                "titleField": {"fieldName": "title"},
                "prioritizedContentFields": [{"fieldName": "text"}],
                "prioritizedKeywordsFields": [{"fieldName": "keywords"}]}}])
        );
    }

    #[test]
    fn without_vectors_there_is_nothing_to_search_them_by() {
        assert!(index(vec![Field { name: "flag", kind: Kind::Flag }]).get("vectorSearch").is_none());
    }
}

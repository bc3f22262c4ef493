//! Golden cases: answers computed with 50 digits or by exact enumeration, independently of this code.
//!
//! Not covered, because nothing here computes them: unpooled tests, exact tests and contingency tables, the delta and
//! Fieller intervals of a lift, ratio metrics, Dunnett, sequential and group-sequential tests, Bayesian answers,
//! heterogeneity and stratification, non-inferiority, and other products' hashing.

use serde_json::Value;

use super::means::Sample;

const FILE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/stats_golden.json"));

pub struct Golden(Value);

impl Golden {
    pub fn family(family: &str) -> Vec<Self> {
        let mut file: Value = serde_json::from_str(FILE).unwrap();
        let Value::Array(cases) = file["cases"].take() else { panic!("no cases") };
        let found: Vec<_> = cases.into_iter().filter(|case| case["family"] == family).map(Self).collect();
        assert!(!found.is_empty(), "no golden case of {family}");
        found
    }

    /// An input, by its path.
    pub fn number(&self, path: &str) -> f64 {
        at(&self.0["inputs"], path).as_f64().unwrap_or_else(|| panic!("{}: no input {path}", self.0["id"]))
    }

    pub fn count(&self, path: &str) -> u64 {
        at(&self.0["inputs"], path).as_u64().unwrap_or_else(|| panic!("{}: no input {path}", self.0["id"]))
    }

    pub fn numbers(&self, path: &str) -> Vec<f64> {
        at(&self.0["inputs"], path).as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    }

    pub fn text(&self, path: &str) -> &str {
        at(&self.0["inputs"], path).as_str().unwrap()
    }

    /// The summary `n<arm>`, `mean_<arm>`, `var_<arm>`.
    pub fn sample(&self, arm: &str) -> Sample {
        Sample {
            n: self.count(&format!("n{arm}")),
            mean: self.number(&format!("mean_{arm}")),
            variance: self.number(&format!("var_{arm}")),
        }
    }

    /// Whether an answer is there, `null` included.
    pub fn has(&self, path: &str) -> bool {
        self.0["expected"].get(path).is_some()
    }

    /// An answer within the case's own tolerance: 1e-9 of it nearly everywhere, plus 1e-12. Where the answer is a tiny
    /// p-value the absolute part would let anything pass, so it must agree to 1e-9 of its size.
    pub fn assert(&self, path: &str, found: f64) {
        let expected = at(&self.0["expected"], path);
        let expected = expected.as_f64().unwrap_or_else(|| panic!("{}: {path} is {expected}", self.0["id"]));
        let [relative, absolute] = ["rel", "abs"].map(|part| self.0["tolerance"][part].as_f64().unwrap());
        let absolute = if expected != 0.0 && expected.abs() < absolute { 0.0 } else { absolute };
        assert_close(found, expected, relative, absolute, &format!("{} {path}", self.0["id"]));
    }

    /// `null` stands for `None`.
    pub fn assert_option(&self, path: &str, found: Option<f64>) {
        match found {
            Some(found) => self.assert(path, found),
            None => assert!(at(&self.0["expected"], path).is_null(), "{}: {path} is defined", self.0["id"]),
        }
    }

    pub fn assert_interval(&self, path: &str, found: super::Interval) {
        self.assert_all(path, &[found.low, found.high]);
    }

    pub fn assert_all(&self, path: &str, found: &[f64]) {
        assert_eq!(at(&self.0["expected"], path).as_array().unwrap().len(), found.len(), "{} {path}", self.0["id"]);
        for (index, found) in found.iter().enumerate() {
            self.assert(&format!("{path}.{index}"), *found);
        }
    }
}

pub fn assert_close(found: f64, expected: f64, relative: f64, absolute: f64, what: &str) {
    let allowed = absolute + relative * expected.abs();
    assert!((found - expected).abs() <= allowed, "{what}: {found:e} instead of {expected:e} (+- {allowed:e})");
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.')
        .fold(value, |value, part| part.parse::<usize>().map_or_else(|_| &value[part], |index| &value[index]))
}

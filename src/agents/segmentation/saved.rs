//! How fitters, profiles and models are written, with their schema, and what is checked when they are read.

use serde::{Deserialize, Serialize};

use super::{Learned, Method, Pass, rfm::Scoring};
use crate::domain::segment::Segment;

#[derive(Serialize, Deserialize)]
#[serde(tag = "schema", deny_unknown_fields)]
pub(super) enum Fitter {
    #[serde(rename = "segment-fitter/1")]
    V1 { pass: Pass },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "schema", deny_unknown_fields)]
pub(super) enum Profile {
    #[serde(rename = "segment-profile/1")]
    V1 { learned: Learned },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    schema: Schema,
    segments: Vec<Segment>,
    method: Method,
}

#[derive(Serialize, Deserialize)]
enum Schema {
    #[serde(rename = "segments/1")]
    V1,
}

impl From<super::Fitter> for Fitter {
    fn from(fitter: super::Fitter) -> Self {
        Self::V1 { pass: fitter.0 }
    }
}

impl TryFrom<Fitter> for super::Fitter {
    type Error = &'static str;

    fn try_from(Fitter::V1 { pass }: Fitter) -> Result<Self, &'static str> {
        let is_sound = match &pass {
            Pass::Rfm(fitter) => fitter.is_sound(),
            Pass::Kmeans(fitter) => fitter.is_sound(),
        };
        if is_sound { Ok(Self(pass)) } else { Err("no fit gets to this pass") }
    }
}

impl From<super::Profile> for Profile {
    fn from(profile: super::Profile) -> Self {
        Self::V1 { learned: profile.0 }
    }
}

impl From<Profile> for super::Profile {
    fn from(Profile::V1 { learned }: Profile) -> Self {
        Self(learned)
    }
}

impl From<super::Model> for Model {
    fn from(model: super::Model) -> Self {
        Self { schema: Schema::V1, segments: model.segments, method: model.method }
    }
}

impl TryFrom<Model> for super::Model {
    type Error = &'static str;

    fn try_from(saved: Model) -> Result<Self, &'static str> {
        let segments = match &saved.method {
            Method::Rules(rules) => rules.segments().len(),
            Method::Rfm(_) => Scoring::segments().len(),
            Method::Kmeans(clusters) => clusters.len().ok_or("the centroids and the features do not fit together")?,
        };
        if segments != saved.segments.len() {
            return Err("the segments are not those of the model's method");
        }
        Ok(Self { segments: saved.segments, method: saved.method })
    }
}

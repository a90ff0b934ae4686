//! The one query-string extractor: every parameter is known, stands once and is valid, or the request is refused.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::error::Failure;

/// The parameters of a request.
pub(crate) struct Query<T>(pub(crate) T);

/// A set of query parameters.
pub(crate) trait FromQuery: Sized {
    /// Takes what it knows; whatever is left over is refused by [`Query`].
    fn from_query(parameters: &mut Parameters) -> Result<Self, Failure>;
}

/// No parameters at all.
pub(crate) struct Nothing;

impl FromQuery for Nothing {
    fn from_query(_parameters: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self)
    }
}

/// The parameters not yet taken, decoded.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Takes a parameter that is text.
    pub(crate) fn take_text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let Some(position) = self.0.iter().position(|(found, _)| found == name) else {
            return Ok(None);
        };
        let (_, value) = self.0.swap_remove(position);
        if self.0.iter().any(|(found, _)| found == name) {
            return Err(invalid(name, &"stands in the query twice"));
        }
        Ok(Some(value))
    }

    /// Takes a parameter of a type that is read from text.
    pub(crate) fn take<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let text = self.take_text(name)?;
        text.map(|text| text.parse().map_err(|error| invalid(name, &error))).transpose()
    }
}

fn invalid(name: &str, message: &dyn Display) -> Failure {
    Failure::invalid_field(name, &message.to_string())
}

impl<S: Sync, T: FromQuery> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Failure::invalid(None, "The query string cannot be read."))?;
        let mut parameters = Parameters(pairs.0);
        let value = T::from_query(&mut parameters)?;
        match parameters.0.first() {
            Some((name, _)) => Err(invalid(name, &"unknown query parameter")),
            None => Ok(Self(value)),
        }
    }
}

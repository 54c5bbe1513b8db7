//! Numbers by name, as Node printed them.

use std::collections::BTreeMap;

use anyhow::Context as _;

/// Medians, unless a name says something else.
#[derive(Debug)]
pub struct Measured(BTreeMap<String, f64>);

impl Measured {
    pub fn parse(json: &str) -> anyhow::Result<Self> {
        Ok(Self(serde_json::from_str(json).with_context(|| format!("no numbers, but: {json}"))?))
    }

    /// Fails for a number that was not measured.
    pub fn get(&self, name: &str) -> anyhow::Result<f64> {
        self.0.get(name).copied().with_context(|| format!("`{name}` was not measured"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_name_and_a_missing_one_is_an_error() {
        let measured = Measured::parse(r#"{"nodes": 1271, "cls": 0.05}"#).unwrap();
        assert_eq!(measured.get("nodes").unwrap(), 1271.0);
        assert!(measured.get("heap").unwrap_err().to_string().contains("`heap`"));
        assert!(Measured::parse("at http://x: it failed").is_err());
    }
}

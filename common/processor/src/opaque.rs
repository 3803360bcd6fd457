//! JSON that a stage takes or gives and that belongs to the proofs library.

use damocles_types::{SealProof, SectorSize};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::fmt;

/// JSON that is carried along unread (PC1 and C1 outputs belong to the proofs library).
/// Always one line, whatever form it came in.
#[derive(Clone)]
pub struct Opaque(Box<RawValue>);

impl Opaque {
    /// Takes any value that has a JSON form.
    pub fn from_value<T: Serialize>(value: &T) -> serde_json::Result<Self> {
        serde_json::value::to_raw_value(value).map(Self)
    }

    /// Reads JSON text, e.g. out of a database.
    pub fn from_text(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The JSON text, on one line.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The size of the sector that an output of PC1 or C1 is about.
    pub(crate) fn sector_size(&self) -> Option<SectorSize> {
        #[derive(Deserialize)]
        struct Head {
            registered_proof: String,
        }
        let head: Head = self.parse().ok()?;
        SealProof::from_name(&head.registered_proof).map(|proof| proof.size)
    }

    /// Reads it as what it is.
    pub fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.0.get())
    }
}

impl PartialEq for Opaque {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl fmt::Debug for Opaque {
    /// These documents run to megabytes; a log line needs their size only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opaque({} bytes)", self.text().len())
    }
}

impl Serialize for Opaque {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Opaque {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(d)?;
        if !raw.get().contains(['\n', '\r']) {
            return Ok(Self(raw));
        }
        // A raw line break in JSON can only be formatting: inside strings it is escaped.
        let flat = raw.get().replace(['\n', '\r'], "");
        RawValue::from_string(flat)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_of_pc1_and_c1_tell_the_size_of_their_sector() {
        let size = |text| Opaque::from_text(text).unwrap().sector_size();
        let pc1 = r#"{"registered_proof":"StackedDrg64GiBV1_1","labels":{}}"#;
        assert_eq!(size(pc1), Some(SectorSize::GiB64));
        assert_eq!(size(r#"{"registered_proof":"X"}"#), None);
        assert_eq!(size("[1]"), None);
    }

    #[test]
    fn opaque_json_stays_as_it_is_but_on_one_line() {
        let text = "{\"b\": 1,\n  \"a\": \"x\\ny\"}\r\n";
        let opaque = Opaque::from_text(text).unwrap();
        assert_eq!(opaque.text(), "{\"b\": 1,  \"a\": \"x\\ny\"}");
        assert_eq!(serde_json::to_string(&opaque).unwrap(), opaque.text());
        assert!(Opaque::from_text("{").is_err());
    }
}

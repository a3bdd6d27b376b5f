//! What an Allod signature says, read from and written to the structured fields of RFC 9421.

use allod_state::{AccountId, PublicKey};
use http::HeaderMap;
use sfv::{
    BareItem, Dictionary, FieldType, InnerList, Item, KeyRef, List, ListEntry, Parameters, Parser,
    key_ref,
};

use super::base::{header, header_bytes};
use super::digest::CONTENT_DIGEST;
use super::error::{SignatureError, quoted};
use super::limits::{
    NONCE_BYTES_MAX, NONCE_BYTES_MIN, SIGNATURE_BYTES_MAX, SIGNATURE_INPUT_BYTES_MAX,
};

pub(super) const TAG: &str = "allod-v1";
pub(super) const ALGORITHM: &str = "ed25519";
pub(super) const LABEL: &str = "allod";
pub(super) const SIGNATURE_INPUT: &str = "signature-input";
pub(super) const SIGNATURE: &str = "signature";
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Covered by every signature.
pub(super) const ALWAYS: [&str; 4] = ["@method", "@authority", "@path", "@query"];
/// Covered wherever the request has the header.
pub(super) const IF_PRESENT: [&str; 2] = [CONTENT_DIGEST, IDEMPOTENCY_KEY];
/// Covered if the client likes.
const OPTIONAL: [&str; 1] = ["content-type"];

/// One signature, well-formed but not yet believed.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) components: Vec<&'static str>,
    pub(super) created_s: u64,
    pub(super) expires_s: u64,
    pub(super) nonce: String,
    pub(super) key: PublicKey,
    pub(super) account: Option<AccountId>,
    pub(super) signature: [u8; 64],
    /// The parameters as they enter the signature base.
    pub(super) parameters: String,
}

/// What a signature is made with.
pub(super) struct Terms<'a> {
    pub(super) components: &'a [&'static str],
    pub(super) created_s: u64,
    pub(super) expires_s: u64,
    pub(super) nonce: &'a str,
    pub(super) key_id: &'a str,
}

impl Terms<'_> {
    /// The parameters as they enter the signature base and `Signature-Input`.
    pub(super) fn parameters(&self) -> Option<String> {
        let items = self
            .components
            .iter()
            .map(|name| string(name).map(Item::new));
        let mut parameters = Parameters::new();
        let mut set = |name: &str, value| parameters.insert(key_ref(name).to_owned(), value);
        set(
            "created",
            BareItem::Integer(self.created_s.try_into().ok()?),
        );
        set(
            "expires",
            BareItem::Integer(self.expires_s.try_into().ok()?),
        );
        set("nonce", string(self.nonce)?);
        set("keyid", string(self.key_id)?);
        set("alg", string(ALGORITHM)?);
        set("tag", string(TAG)?);
        written(&InnerList::with_params(
            items.collect::<Option<_>>()?,
            parameters,
        ))
    }
}

impl Claim {
    /// The one signature of the request that is tagged for Allod.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, SignatureError> {
        if !headers.contains_key(SIGNATURE_INPUT) && !headers.contains_key(SIGNATURE) {
            return Err(SignatureError::Missing);
        }
        let inputs = dictionary(
            headers,
            SIGNATURE_INPUT,
            "Signature-Input",
            SIGNATURE_INPUT_BYTES_MAX,
        )?;
        let signatures = dictionary(headers, SIGNATURE, "Signature", SIGNATURE_BYTES_MAX)?;
        let mut tagged = inputs.iter().filter_map(|(label, entry)| match entry {
            ListEntry::InnerList(list) if text(&list.params, "tag") == Some(TAG) => {
                Some((label, list))
            }
            _ => None,
        });
        let (label, list) = tagged.next().ok_or(SignatureError::WrongTag)?;
        if tagged.next().is_some() {
            return Err(SignatureError::Ambiguous);
        }
        let signature = match signatures.get(label) {
            Some(ListEntry::Item(Item {
                bare_item: BareItem::ByteSequence(bytes),
                ..
            })) => bytes.as_slice().try_into().ok(),
            _ => None,
        };
        let signature = signature.ok_or(SignatureError::Malformed { what: "Signature" })?;
        Self::from_list(list, signature)
    }

    fn from_list(list: &InnerList, signature: [u8; 64]) -> Result<Self, SignatureError> {
        let components = components(&list.items)?;
        check_parameter_names(&list.params)?;
        if required_text(&list.params, "alg")? != ALGORITHM {
            return Err(SignatureError::WrongAlgorithm);
        }
        let nonce = required_text(&list.params, "nonce")?;
        if !(NONCE_BYTES_MIN..=NONCE_BYTES_MAX).contains(&nonce.len()) {
            return Err(SignatureError::ParameterMissing { parameter: "nonce" });
        }
        let (key, account) = read_key_id(required_text(&list.params, "keyid")?)?;
        let malformed = SignatureError::Malformed {
            what: "Signature-Input",
        };
        Ok(Self {
            components,
            created_s: required_time(&list.params, "created")?,
            expires_s: required_time(&list.params, "expires")?,
            nonce: nonce.to_owned(),
            key,
            account,
            signature,
            parameters: written(list).ok_or(malformed)?,
        })
    }
}

/// `keyid`: the key alone, or `key@account` where the signer says for which account it acts.
pub(super) fn key_id(key: &PublicKey, account: Option<AccountId>) -> String {
    match account {
        None => key.to_string(),
        Some(account) => format!("{key}@{account}"),
    }
}

fn read_key_id(text: &str) -> Result<(PublicKey, Option<AccountId>), SignatureError> {
    let (key, account) = match text.split_once('@') {
        None => (text, None),
        Some((key, account)) => (
            key,
            Some(account.parse().map_err(|_| SignatureError::KeyMalformed)?),
        ),
    };
    let key = key.parse().map_err(|_| SignatureError::KeyMalformed)?;
    Ok((key, account))
}

fn dictionary(
    headers: &HeaderMap,
    name: &str,
    what: &'static str,
    max: usize,
) -> Result<Dictionary, SignatureError> {
    let bytes = header_bytes(headers, name);
    if bytes > max {
        return Err(SignatureError::TooLarge { what, bytes, max });
    }
    let text = header(headers, name).ok_or(SignatureError::Malformed { what })?;
    Parser::new(&text)
        .parse()
        .map_err(|_| SignatureError::Malformed { what })
}

fn components(items: &[Item]) -> Result<Vec<&'static str>, SignatureError> {
    let mut found = Vec::new();
    for item in items {
        let name = item.bare_item.as_string().map_or("?", |name| name.as_str());
        let known = ALWAYS
            .iter()
            .chain(&IF_PRESENT)
            .chain(&OPTIONAL)
            .find(|known| **known == name);
        match known {
            Some(known) if item.params.is_empty() && !found.contains(known) => found.push(*known),
            _ => {
                let component = quoted(name);
                return Err(SignatureError::ComponentUnsupported { component });
            }
        }
    }
    match ALWAYS.iter().find(|name| !found.contains(*name)) {
        Some(component) => Err(SignatureError::ComponentMissing { component }),
        None => Ok(found),
    }
}

fn check_parameter_names(parameters: &Parameters) -> Result<(), SignatureError> {
    const KNOWN: [&str; 6] = ["alg", "created", "expires", "keyid", "nonce", "tag"];
    match parameters
        .keys()
        .find(|name| !KNOWN.contains(&name.as_str()))
    {
        None => Ok(()),
        Some(name) => Err(SignatureError::ParameterUnsupported {
            parameter: quoted(name.as_str()),
        }),
    }
}

fn required_text<'a>(
    parameters: &'a Parameters,
    parameter: &'static str,
) -> Result<&'a str, SignatureError> {
    text(parameters, parameter).ok_or(SignatureError::ParameterMissing { parameter })
}

fn required_time(parameters: &Parameters, parameter: &'static str) -> Result<u64, SignatureError> {
    parameter_of(parameters, parameter)
        .and_then(BareItem::as_integer)
        .and_then(|time| u64::try_from(time).ok())
        .ok_or(SignatureError::ParameterMissing { parameter })
}

fn text<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameter_of(parameters, name)?
        .as_string()
        .map(|text| text.as_str())
}

fn parameter_of<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a BareItem> {
    let name: &KeyRef = KeyRef::from_str(name).ok()?;
    parameters.get(name)
}

fn string(text: &str) -> Option<BareItem> {
    sfv::String::from_string(text.to_owned())
        .ok()
        .map(BareItem::String)
}

fn written(list: &InnerList) -> Option<String> {
    let list: List = vec![ListEntry::InnerList(list.clone())];
    list.serialize()
}

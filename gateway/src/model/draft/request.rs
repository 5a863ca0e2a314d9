//! The request, as an endpoint's owner wants it: method, times, who the gateway is. Checks of those fields.

use super::{EndpointDraft, Wrong, check_header};
use crate::model::{
    credentials::{ClientAuthentication, ClientCertificate, Credentials, Kind, OAuth2},
    endpoint::{Endpoint, Method},
    secret::Secret,
};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;
use std::sync::Arc;
use url::Url;
use utoipa::ToSchema;

/// The shortest and the longest that an attempt may take, in milliseconds.
const TIMEOUT: [u64; 2] = [100, 120_000];
/// The shortest and the longest that connecting may take, in milliseconds.
const CONNECT: [u64; 2] = [100, 60_000];
/// The longest text of a credential, in bytes.
const TEXT: usize = 4096;
/// The longest user agent, in bytes.
const AGENT: usize = 256;

/// What an endpoint's requests log in with, as it is written. The fields that belong to the type are needed, others are
/// refused. A secret that is left out stays, where nothing beside it changes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialsDraft {
    /// Required.
    #[serde(rename = "type")]
    #[schema(required)]
    kind: Option<Type>,
    /// Of `basic`.
    username: Option<String>,
    /// Of `basic`.
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>, write_only)]
    password: Option<Secret>,
    /// Of `bearer`.
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>, write_only)]
    token: Option<Secret>,
    /// Of `api-key`.
    header: Option<String>,
    /// Of `api-key`.
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>, write_only)]
    value: Option<Secret>,
    /// Of `oauth2`: the token endpoint.
    #[serde(alias = "token_url")]
    #[schema(format = "uri")]
    token_url: Option<String>,
    /// Of `oauth2`.
    #[serde(alias = "client_id")]
    client_id: Option<String>,
    /// Of `oauth2`.
    #[serde(alias = "client_secret", default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>, write_only)]
    client_secret: Option<Secret>,
    /// Of `oauth2`, if its server wants one.
    scope: Option<String>,
    /// Of `oauth2`, if its server wants one.
    audience: Option<String>,
    /// Of `oauth2`: how the client says who it is; `basic` if absent.
    authentication: Option<ClientAuthentication>,
}

/// How an endpoint's requests log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = CredentialsType)]
enum Type {
    None,
    Basic,
    Bearer,
    ApiKey,
    #[serde(rename = "oauth2")]
    OAuth2,
}

/// The certificate that an endpoint's requests show, as it is written. Without a certificate in it, it is removed.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificateDraft {
    /// In PEM, its own first and then those that lead to its authority.
    certificate: Option<String>,
    /// In PEM, not encrypted. The one that is there if absent and the certificate is the same.
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>, write_only)]
    key: Option<Secret>,
}

/// What is wrong is not shown, since it is a secret.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    match Option::<Value>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(Secret::new(text))),
        Some(_) => Err(D::Error::custom("must be a text")),
    }
}

/// The checked fields.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) user_agent: Option<String>,
    pub(super) timeout: Option<u64>,
    pub(super) connect_timeout: Option<u64>,
    pub(super) credentials: Option<Arc<Credentials>>,
    pub(super) client_certificate: Option<Arc<ClientCertificate>>,
}

impl EndpointDraft {
    /// The request's fields, of the draft or as they were.
    pub(super) fn request(
        &self,
        old: Option<&Endpoint>,
        check_url: &impl Fn(&Url) -> Result<(), String>,
    ) -> Result<Request, Vec<Wrong>> {
        let mut wrong = self.check_wire();
        let kept = |given: Option<u64>, old: Option<u64>| match given {
            None => old,
            Some(0) => None,
            Some(given) => Some(given),
        };
        let timeout = kept(self.timeout, old.and_then(|old| old.timeout));
        let connect_timeout = kept(self.connect_timeout, old.and_then(|old| old.connect_timeout));
        let times = [("/timeout", timeout, TIMEOUT), ("/connectTimeout", connect_timeout, CONNECT)];
        for (path, time, [least, most]) in times {
            if time.is_some_and(|time| !(least..=most).contains(&time)) {
                wrong.push((path.into(), format!("must be from {least} to {most}, or 0")));
            }
        }
        let agent = match &self.user_agent {
            None => old.and_then(|old| old.user_agent.clone()),
            Some(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        };
        let is_agent = |text: &String| text.len() <= AGENT && is_visible(text);
        if agent.as_ref().is_some_and(|agent| !is_agent(agent)) {
            wrong
                .push(("/userAgent".into(), format!("must be at most {AGENT} visible characters")));
        }
        let mut take = |part: Result<_, Vec<Wrong>>| {
            part.unwrap_or_else(|more| {
                wrong.extend(more);
                None
            })
        };
        let credentials = take(self.credentials(old, check_url));
        let certificate = self.client_certificate(old);
        let client_certificate = certificate.unwrap_or_else(|more| {
            wrong.push(more);
            None
        });
        if let Some(credentials) = &credentials {
            let own = self.headers.iter().flatten().map(|(name, _)| name);
            for name in own.filter(|name| name.eq_ignore_ascii_case(credentials.header())) {
                wrong.push((format!("/headers/{name}"), "is set by the credentials".into()));
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let method = self.method.or_else(|| old.map(|old| old.method)).unwrap_or_default();
        let user_agent = agent;
        Ok(Request {
            method,
            user_agent,
            timeout,
            connect_timeout,
            credentials,
            client_certificate,
        })
    }

    /// What is left out is as if there had been nothing: for files, where what leaves is no longer used.
    pub fn default_request(&mut self) {
        self.method.get_or_insert_default();
        self.user_agent.get_or_insert_default();
        self.timeout.get_or_insert(0);
        self.connect_timeout.get_or_insert(0);
        let none = || CredentialsDraft { kind: Some(Type::None), ..CredentialsDraft::default() };
        self.credentials.get_or_insert_with(none);
        self.client_certificate.get_or_insert_default();
    }

    /// Nothing of the request means anything over NATS, and a certificate nothing without TLS.
    fn check_wire(&self) -> Vec<Wrong> {
        let given = [
            ("/method", self.method.is_some_and(|method| method != Method::Post)),
            ("/userAgent", self.user_agent.as_ref().is_some_and(|text| !text.is_empty())),
            ("/timeout", self.timeout.is_some_and(|time| time > 0)),
            ("/connectTimeout", self.connect_timeout.is_some_and(|time| time > 0)),
            ("/credentials", self.credentials.as_ref().is_some_and(|c| c.kind != Some(Type::None))),
            (
                "/clientCertificate",
                self.client_certificate.as_ref().is_some_and(|c| c.certificate.is_some()),
            ),
        ];
        let url = self.new_url();
        let (concerned, what) = match url.as_ref().map(Url::scheme).unwrap_or_default() {
            "nats" => (&given[..], "is for http and https URLs"),
            "http" => (&given[5..], "is for https URLs"),
            _ => (&given[..0], ""),
        };
        let concerned = concerned.iter().filter(|(_, given)| *given);
        concerned.map(|(path, _)| ((*path).to_owned(), what.to_owned())).collect()
    }

    /// The URL that is given, as it is read, if it is one.
    fn new_url(&self) -> Option<Url> {
        self.url.as_deref().and_then(|url| Url::parse(url).ok())
    }

    fn credentials(
        &self,
        old: Option<&Endpoint>,
        check_url: &impl Fn(&Url) -> Result<(), String>,
    ) -> Result<Option<Arc<Credentials>>, Vec<Wrong>> {
        let known = old.and_then(|old| old.credentials.clone());
        let origin = |url: &Url| url.origin();
        let new = self.new_url();
        let moves = old.map(|old| origin(&old.url)) != new.as_ref().map(origin);
        let Some(draft) = &self.credentials else {
            // Whoever may change the URL need not know the secret, and must not be told it by that.
            return match known.is_some() && moves {
                true => Err(vec![(
                    "/credentials".into(),
                    "must be given anew (or as type none), since the URL leads somewhere else"
                        .into(),
                )]),
                false => Ok(known),
            };
        };
        let known = known.filter(|_| !moves);
        draft.credentials(known.as_deref(), check_url).map(|made| made.map(Arc::new))
    }

    fn client_certificate(
        &self,
        old: Option<&Endpoint>,
    ) -> Result<Option<Arc<ClientCertificate>>, Wrong> {
        let known = old.and_then(|old| old.client_certificate.clone());
        let Some(draft) = &self.client_certificate else {
            let new = self.new_url();
            let url = new.as_ref().or_else(|| old.map(|old| &old.url));
            let is_tls = url.is_some_and(|url| url.scheme() == "https");
            return match known.is_some() && !is_tls {
                true => Err((
                    "/clientCertificate".into(),
                    "must be removed (as {}), since the URL is not https".into(),
                )),
                false => Ok(known),
            };
        };
        let wrong = |field: &str, text: String| (format!("/clientCertificate/{field}"), text);
        let Some(certificate) = draft.certificate.clone() else {
            return match draft.key {
                Some(_) => Err(wrong("certificate", "is required".into())),
                None => Ok(None),
            };
        };
        let same = known.filter(|known| known.certificate == certificate);
        let key = draft.key.clone().or_else(|| same.map(|known| known.key.clone()));
        let key = key.ok_or_else(|| wrong("key", "is required".into()))?;
        let made = ClientCertificate { certificate, key };
        made.check().map_err(|(field, text)| wrong(field, text))?;
        Ok(Some(Arc::new(made)))
    }
}

impl CredentialsDraft {
    fn credentials(
        &self,
        known: Option<&Credentials>,
        check_url: &impl Fn(&Url) -> Result<(), String>,
    ) -> Result<Option<Credentials>, Vec<Wrong>> {
        let mut wrong = self.check_fields();
        let mut no = |field: &str, text: &str| {
            wrong.push((format!("/credentials/{field}"), text.to_owned()));
        };
        let mut text = |field: &str, value: &Option<String>| {
            let value = value.clone().unwrap_or_default();
            if value.is_empty() || value.len() > TEXT || value.chars().any(char::is_control) {
                no(field, "must be 1 to 4096 characters");
            }
            value
        };
        let (field, given) = self.secret();
        let kind = match self.kind {
            None => return Err(vec![("/credentials/type".into(), "is required".into())]),
            Some(Type::None) => None,
            Some(Type::Basic) => {
                let username = text("username", &self.username);
                if username.contains(':') {
                    no("username", "must not contain a colon");
                }
                Some(Kind::Basic { username })
            }
            Some(Type::Bearer) => Some(Kind::Bearer),
            Some(Type::ApiKey) => {
                let header = text("header", &self.header).to_ascii_lowercase();
                if let Err(text) = check_header(&header, "") {
                    no("header", &text);
                }
                Some(Kind::ApiKey { header })
            }
            Some(Type::OAuth2) => {
                let client_id = text("clientId", &self.client_id);
                let token_url = token_url(self.token_url.as_deref(), check_url);
                let token_url = token_url.map_err(|text| no("tokenUrl", &text)).ok();
                let (scope, audience) = (self.scope.clone(), self.audience.clone());
                let authentication = self.authentication.unwrap_or_default();
                token_url.map(|token_url| {
                    Kind::OAuth2(OAuth2 { token_url, client_id, scope, audience, authentication })
                })
            }
        };
        // What was read can be written back; a secret goes nowhere else by that.
        let same = known.filter(|known| Some(&known.kind) == kind.as_ref());
        let secret = given.or_else(|| same.map(|known| known.secret.clone()));
        if kind.is_some() {
            match &secret {
                None => no(field, "is required"),
                Some(secret) if !is_secret(self.kind, &secret.text) => {
                    no(field, "must be 1 to 4096 visible characters");
                }
                Some(_) => {}
            }
        }
        match (kind, secret) {
            _ if !wrong.is_empty() => Err(wrong),
            (Some(kind), Some(secret)) => Ok(Some(Credentials { kind, secret })),
            _ => Ok(None),
        }
    }

    /// The secret of the type, and what it is called.
    fn secret(&self) -> (&'static str, Option<Secret>) {
        match self.kind {
            Some(Type::Bearer) => ("token", self.token.clone()),
            Some(Type::ApiKey) => ("value", self.value.clone()),
            Some(Type::OAuth2) => ("clientSecret", self.client_secret.clone()),
            _ => ("password", self.password.clone()),
        }
    }

    /// Fields that belong to another type.
    fn check_fields(&self) -> Vec<Wrong> {
        use Type::{ApiKey, Basic, Bearer, OAuth2};
        let fields = [
            ("username", self.username.is_some(), Basic),
            ("password", self.password.is_some(), Basic),
            ("token", self.token.is_some(), Bearer),
            ("header", self.header.is_some(), ApiKey),
            ("value", self.value.is_some(), ApiKey),
            ("tokenUrl", self.token_url.is_some(), OAuth2),
            ("clientId", self.client_id.is_some(), OAuth2),
            ("clientSecret", self.client_secret.is_some(), OAuth2),
            ("scope", self.scope.is_some(), OAuth2),
            ("audience", self.audience.is_some(), OAuth2),
            ("authentication", self.authentication.is_some(), OAuth2),
        ];
        let foreign = |(_, given, of): &&(&str, bool, Type)| *given && self.kind != Some(*of);
        let foreign = fields.iter().filter(foreign);
        foreign
            .map(|(field, ..)| {
                (format!("/credentials/{field}"), "does not belong to this type".to_owned())
            })
            .collect()
    }
}

fn token_url(
    text: Option<&str>,
    check_url: &impl Fn(&Url) -> Result<(), String>,
) -> Result<Url, String> {
    let url = Url::parse(text.ok_or("is required")?);
    let url = url.map_err(|error| format!("is not a URL: {error}"))?;
    if url.as_str().len() > TEXT || !matches!(url.scheme(), "http" | "https") {
        return Err("must be an http or https URL of at most 4096 bytes".into());
    }
    check_url(&url).map(|()| url)
}

fn is_visible(text: &str) -> bool {
    http::HeaderValue::from_str(text).is_ok()
}

/// What goes into a header as it is must be legal there.
fn is_secret(kind: Option<Type>, text: &str) -> bool {
    let goes_as_it_is = matches!(kind, Some(Type::Bearer | Type::ApiKey));
    (1..=TEXT).contains(&text.len()) && (!goes_as_it_is || is_visible(text))
}

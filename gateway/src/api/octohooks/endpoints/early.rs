//! What an endpoint's URLs mean when they are written, for whoever writes them: a name that leads to an internal address is
//! refused at once, and not by the first attempt. Safety does not depend on it, since every attempt asks again. What stays as
//! it was is not looked up: whoever disables an endpoint whose name went bad is not kept from it. What the configuration
//! declares is not either, since no start may depend on a name server.

use super::{Endpoint, Login, Url, invalid};
use crate::{api::CheckName, model::draft::Wrong, web::error::ApiError};

/// Refuses what is new in the endpoint's URLs if its name means just now what may not be called.
pub async fn check_names(
    check: &CheckName,
    new: &Endpoint,
    old: Option<&Endpoint>,
) -> Result<(), ApiError> {
    let own = Some(&new.url).filter(|url| old.is_none_or(|old| old.url != **url));
    let token = token_url(new).filter(|url| old.and_then(token_url) != Some(url));
    let (own, token) =
        tokio::join!(checked(check, "/url", own), checked(check, "/credentials/tokenUrl", token));
    let wrong: Vec<_> = own.into_iter().chain(token).collect();
    if wrong.is_empty() { Ok(()) } else { Err(invalid(wrong)) }
}

fn token_url(endpoint: &Endpoint) -> Option<&Url> {
    match &endpoint.credentials.as_ref()?.kind {
        Login::OAuth2(options) => Some(&options.token_url),
        _ => None,
    }
}

async fn checked(check: &CheckName, path: &str, url: Option<&Url>) -> Option<Wrong> {
    let refused = check(url?).await.err()?;
    Some((path.to_owned(), refused))
}

//! Signs as the setting `mode` says: as GitHub does unless it says something. For the gateway's tests of signers.

use octohooks_plugin::{
    Pair, setting,
    sign::{Key, Kind, Request, keys},
};
use std::fmt::Write;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _written = write!(text, "{byte:02x}");
        text
    })
}

fn header(name: &str, value: impl Into<String>) -> Pair {
    (name.to_owned(), value.into())
}

#[allow(clippy::needless_pass_by_value, reason = "a signer is given its request")]
fn sign(request: Request) -> Result<Vec<Pair>, String> {
    match setting("mode").as_deref() {
        None => by_all_keys(&request),
        Some("own-name") => Ok(vec![header("x-signature", "its own")]),
        Some("fail") => Err("as told".into()),
        Some("panic") => panic!("as told"),
        Some("spin") => loop {
            std::hint::black_box(());
        },
        Some("reserved") => Ok(vec![header("webhook-id", "another")]),
        Some("flood") => Ok((0..100).map(|n| header(&format!("x-{n}"), "1")).collect()),
        Some("bad-handle") => {
            let bad = Key { handle: 4_000_000_000, kind: Kind::Symmetric };
            let key = keys().first().copied().ok_or("no keys")?;
            Err(format!("{:?} {:?}", bad.hmac_sha256(b""), key.ed25519(b"")))
        }
        Some(other) => Err(format!("no such mode: {other}")),
    }
}

fn by_all_keys(request: &Request) -> Result<Vec<Pair>, String> {
    let mut headers = vec![
        header("x-signed-for", request.endpoint_uid.as_deref().unwrap_or(&request.endpoint)),
        header("x-signed-at", format!("{} {}", request.webhook_id, request.timestamp)),
    ];
    for key in keys() {
        headers.push(match key.kind {
            Kind::Symmetric => {
                let mac = key.hmac_sha256(&request.body).map_err(|error| format!("{error:?}"))?;
                header("x-hub-signature-256", format!("sha256={}", hex(&mac)))
            }
            Kind::Ed25519 => {
                let signature = key.ed25519(&request.body).map_err(|error| format!("{error:?}"))?;
                header("x-ed25519", hex(&signature))
            }
        });
    }
    Ok(headers)
}

octohooks_plugin::export_signer!(sign);

#[cfg(test)]
mod tests {
    use super::*;
    use octohooks_plugin::testing::outside::Outside;

    #[test]
    fn every_key_signs_the_body() {
        let world = Outside::new().key(Kind::Symmetric, <[u8]>::to_vec);
        world.key(Kind::Ed25519, |bytes| bytes.iter().rev().copied().collect()).place();
        let request = Request { body: vec![1, 2], endpoint: "e".into(), ..Request::default() };
        let headers = sign(request).expect("signs");
        assert_eq!(headers[0], header("x-signed-for", "e"));
        assert_eq!(headers[2], header("x-hub-signature-256", "sha256=0102"));
        assert_eq!(headers[3], header("x-ed25519", "0201"));
    }
}

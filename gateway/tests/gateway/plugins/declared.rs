//! Plugins that the configuration file declares.

use super::{Gateway, Method, component, until};
use serde_json::{Value, json};
use std::fs;

async fn plugins(gateway: &Gateway) -> Vec<Value> {
    let list = gateway.get("/applications/hooli/plugins").await;
    list["data"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn declared_plugins_come_change_and_go_with_the_file_and_others_stay() {
    let mut gateway = Gateway::start(&[]).await;
    let file = gateway.path("config/octohooks.toml");
    fs::create_dir(gateway.path("config")).expect("a folder");
    for name in ["sms-status", "scripted"] {
        fs::write(gateway.path(&format!("{name}.wasm")), component(name)).expect("writes");
    }
    let declare = |plugins: &str| {
        let application = "[[applications]]\nuid = \"hooli\"\n";
        fs::write(&file, format!("{application}{plugins}")).expect("writes");
    };
    let sms = "[[applications.plugins]]\nname = \"sms\"\npath = \"sms-status.wasm\"\n";
    let last = "[[applications.plugins]]\nname = \"a-last\"\npath = \"scripted.wasm\"\nplace = 9\n\
                policy = \"pass-through\"\nsettings = { script = '{\"do\":\"pass\"}' }\n";
    declare(&format!("{last}{sms}"));
    gateway.restart().await;
    let found = plugins(&gateway).await;
    assert_eq!(
        (found.len(), &found[0]["name"], &found[1]["name"]),
        (2, &json!("sms"), &json!("a-last"))
    );
    let last = &found[1];
    assert_eq!((&last["place"], &last["policy"]), (&json!(9), &json!("pass-through")));
    assert_eq!(last["settings"], json!({ "script": r#"{"do":"pass"}"# }));
    assert_eq!(gateway.upload_as("hooli", "by-hand", component("scripted")).await.0, 200);

    // A new component is a new version; what is the same stays as it is.
    gateway.restart().await;
    assert_eq!(plugins(&gateway).await.len(), 3);
    assert_eq!(gateway.get("/applications/hooli/plugins/sms").await, found[0]);
    fs::write(gateway.path("sms-status.wasm"), component("scripted")).expect("writes");
    declare(sms);
    gateway.signal("HUP");
    until("one is gone and the other is new", async || {
        let found = plugins(&gateway).await;
        (found.len() == 2 && found[1]["previous"].is_string()).then_some(())
    })
    .await;
    let left = plugins(&gateway).await;
    assert!(left.iter().map(|plugin| &plugin["name"]).eq(["by-hand", "sms"]), "{left:?}");

    for (plugins, why) in [
        (format!("{sms}{sms}"), "`sms`: is there twice"),
        (sms.replace("sms-status", "nowhere"), "nowhere.wasm"),
        (sms.replace("\"sms\"", "\"S\""), "must match"),
        (sms.replace("[[applications.plugins]]", "[applications.plugin]"), "no `plugin`"),
        (format!("{sms}policy = \"pray\""), "pray"),
    ] {
        declare(&plugins);
        gateway.signal("HUP");
        until(why, async || gateway.log().contains(why).then_some(())).await;
    }
    assert_eq!(plugins(&gateway).await, left);
    gateway.good(Method::DELETE, "/applications/hooli/plugins/by-hand", None).await;
}

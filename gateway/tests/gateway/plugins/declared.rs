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

#[tokio::test]
async fn a_declared_plugin_may_what_the_file_grants_and_is_an_error_without() {
    let mut gateway = Gateway::start(&[]).await;
    let file = gateway.path("config/octohooks.toml");
    fs::create_dir(gateway.path("config")).expect("a folder");
    fs::write(gateway.path("capable.wasm"), component("capable")).expect("writes");
    let plugin = "[[applications.plugins]]\nname = \"main\"\npath = \"capable.wasm\"\n";
    let all = "[applications.grants]\nkeyvalue = { keys = 7 }\nsecrets = true\nclock = true\nrandom = true\n\
               http = { hosts = [\"a.test\"], timeout_ms = 1500 }\n";
    let declare = |grants: &str, plugin: &str| {
        let text = format!("[[applications]]\nuid = \"hooli\"\n{grants}{plugin}");
        fs::write(&file, text).expect("writes");
    };
    let reread = async |gateway: &Gateway, said: &str| {
        gateway.signal("HUP");
        until(said, async || gateway.log().contains(said).then_some(())).await;
    };
    let path = "/applications/hooli/grants";
    for (grants, said) in [
        (
            "",
            "`hooli`: plugin `main`: capable.wasm: the component imports `octohooks:plugin/keyvalue@0.1.0`",
        ),
        (
            &*all.replace("clock = true", ""),
            "octohooks:plugin/clock@0.1.0`, which the application is not granted",
        ),
        (
            &*all.replace("keys = 7", "keys = 0"),
            "`hooli`: grants: /keyvalue/keys must be from 1 to",
        ),
        (&*all.replace("clock", "clocks"), "`clocks`"),
    ] {
        declare(grants, plugin);
        reread(&gateway, said).await;
        assert_eq!(gateway.get("/applications/hooli/plugins").await["data"], json!([]));
    }
    declare(all, plugin);
    gateway.restart().await;
    let granted = gateway.get(path).await;
    assert_eq!(
        (&granted["keyvalue"]["keys"], &granted["http"]["timeoutMs"]),
        (&json!(7), &json!(1500))
    );
    assert_eq!(gateway.get("/applications/hooli/plugins/main").await["name"], "main");
    let secret = json!({ "value": "s" });
    gateway.put("/applications/hooli/secrets/token", secret).await;

    // What the file says comes back; what leaves it goes, and with it what it allowed.
    gateway.put(path, json!({})).await;
    gateway.restart().await;
    assert_eq!(gateway.get(path).await, granted);
    declare(&all.replace("random = true", ""), plugin);
    reread(&gateway, "octohooks:plugin/random@0.1.0`, which the application").await;
    declare("", "");
    gateway.restart().await;
    let none = json!({ "secrets": false, "clock": false, "random": false });
    assert_eq!(gateway.get(path).await, none);
    let secrets = gateway.get("/applications/hooli/secrets").await;
    assert_eq!(secrets["data"], json!([{ "name": "token" }]), "secrets stay");

    // Granted over the API it may as well, and no revocation there keeps the gateway from starting.
    gateway.put(path, granted.clone()).await;
    declare("", plugin);
    gateway.restart().await;
    gateway.put(path, none.clone()).await;
    gateway.restart().await;
    assert!(gateway.log().contains("a declared plugin will fail"), "it is said");
    assert_eq!(gateway.get(path).await, none);
}

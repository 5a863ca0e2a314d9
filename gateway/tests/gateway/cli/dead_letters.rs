//! Dead letters from the command line.

use super::*;

#[tokio::test]
async fn dead_letters_are_listed_shown_and_sent_again() {
    let (gateway, receiver) = (Gateway::start(&[]).await, Receiver::start().await);
    let shell = Shell::of(&gateway, KEY);
    set_up(&shell, &receiver).await;
    shell.good("endpoint update hooli bad --dead-letter-endpoint good").await;
    let shown = shell.good("endpoint get hooli bad").await;
    assert!(shown.contains("dead letters to  good\n"), "{shown}");
    for uid in ["m1", "m2"] {
        let send = ["send", "hooli", "--event-type", "sms.status", "--uid", uid];
        assert_eq!(shell.run_with(&send, r#"{"n":1}"#).await.code, 0);
        gateway.settled("hooli", uid).await;
    }
    let list = shell.good("dead-letters list hooli").await;
    let row: Vec<&str> = list.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!((row[1], row[2], row[4]), ("m2", "sms.status", "4"), "{list}");
    assert!(list.lines().count() == 3 && list.contains("status 500"), "{list}");
    let page = shell.json("dead-letters list hooli --endpoint bad --limit 1").await;
    assert_eq!(page["data"][0]["messageUid"], "m2", "{page}");
    assert_eq!(shell.good("dead-letters list hooli --kind message").await, "");
    let shown = shell.good("dead-letters show hooli m1").await;
    assert!(shown.contains(r#"payload     {"n":1}"#) && shown.contains("endpoint "), "{shown}");
    assert_eq!(shown.lines().filter(|line| line.contains(" 500 ")).count(), 4, "{shown}");
    shell.bad("dead-letters show hooli nobody", 3, "no such message").await;
    assert_eq!(shell.run("dead-letters resend hooli").await.code, 2, "one or all");

    let mended = receiver.url("/ok/mended");
    shell.good(&format!("endpoint update hooli bad --url {mended}")).await;
    let said = shell.good("dead-letters resend hooli m1").await;
    assert!(said.contains("octohooks deliveries hooli --message m1"), "{said}");
    receiver.wait_for("/ok/mended", 1).await;
    let counted = shell.good("dead-letters resend hooli --all --dry-run").await;
    assert!(counted.contains("1 to do"), "{counted}");
    let done = shell.good("dead-letters resend hooli --all --endpoint bad --since 1h").await;
    assert!(done.contains("progress     1 of 1\n"), "{done}");
    receiver.wait_for("/ok/mended", 2).await;
    gateway.settled("hooli", "m2").await;
    assert_eq!(shell.good("dead-letters list hooli").await, "");
    shell.bad("dead-letters show hooli m1", 3, "no such dead letter").await;
}

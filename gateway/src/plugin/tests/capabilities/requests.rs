//! Requests that wait: for their answers, and for their turn to.

use super::*;

fn request(host: &str, timeout_ms: Option<u64>) -> Value {
    json!([{ "use": "http", "url": format!("http://{host}/"), "timeoutMs": timeout_ms }])
}

/// Calls of the application whose requests are under way, once that many of all are.
async fn requests(
    scene: &Arc<Scene>,
    (application, count): (u128, usize),
    steps: Value,
    under_way: usize,
) -> Vec<tokio::task::JoinHandle<Vec<Value>>> {
    let one = || {
        let (scene, steps) = (scene.clone(), steps.clone());
        tokio::spawn(async move { scene.steps_of(application, &steps).await })
    };
    let calls: Vec<_> = (0..count).map(|_| one()).collect();
    while scene.world.sent.lock().expect("one").len() < under_way {
        assert!(calls.iter().any(|call| !call.is_finished()), "they have ended");
        tokio::task::yield_now().await;
    }
    calls
}

#[tokio::test]
async fn a_quarter_of_the_pool_waits_for_answers_and_another_for_its_turn_to() {
    let scene = Arc::new(scene(Options::default()));
    let mut slow = requests(&scene, (1, 1), request("slow.test", Some(1000)), 1).await;
    let mut next = requests(&scene, (2, 2), request("a.test", None), 1).await;
    // One of the two waits for its turn, and there is no room for the other.
    let mut came = Vec::new();
    for call in next.drain(..) {
        came.push(call.await.expect("ends").remove(0));
    }
    let answered = came.iter().filter(|came| came["ok"]["status"] == 404).count();
    let refused = came.iter().filter(|came| came["error"].to_string().contains("too many")).count();
    assert_eq!((answered, refused), (1, 1), "{came:?}");
    assert_eq!(slow.remove(0).await.expect("ends")[0]["error"], "Timeout");
    let mut slow = requests(&scene, (1, 1), request("slow.test", Some(1000)), 3).await;
    let came = scene.steps_of(2, &request("a.test", Some(50))).await;
    assert_eq!(came[0]["error"], "Timeout", "its turn did not come in its time");
    assert_eq!(slow.remove(0).await.expect("ends")[0]["error"], "Timeout");
}

#[tokio::test]
async fn an_application_whose_requests_are_not_answered_leaves_room_for_another() {
    let scene =
        Arc::new(scene_of(Options { concurrency: 16, per_application: 4, ..Options::default() }));
    let slow = requests(&scene, (1, 4), request("slow.test", None), 2).await;
    for _ in 0..3 {
        let came = scene.steps_of(2, &request("a.test", None)).await;
        assert_eq!(came[0]["ok"]["status"], 404, "{came:?}");
    }
    let sent = scene.world.sent.lock().expect("one");
    let hosts = sent.iter().filter(|request| request.url.host_str() == Some("slow.test"));
    assert_eq!((hosts.count(), sent.len()), (2, 5), "the others wait for their turn");
    drop(sent);
    slow.iter().for_each(tokio::task::JoinHandle::abort);
}

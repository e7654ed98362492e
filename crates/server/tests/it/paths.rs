//! Paths of a session's files that can't be, or about which nothing can be done.

use axum::body::Body;
use futures_util::stream;
use serde_json::json;

use crate::workspace::Place;

#[tokio::test]
async fn directories_made_for_what_then_fails_are_gone_again() {
    let place = Place::new().await;
    place.put("path=f", "f").await.ok();
    let name = "x".repeat(300);
    for at in [format!("new/deep/{name}"), format!("new/{name}/f"), "f/new/deep".to_owned()] {
        let refused = place.put(&format!("path={at}&parents=true"), "x").await;
        assert!(refused.status.is_client_error(), "{}", refused.status);
        let moved = json!({"from": "f", "to": at, "parents": true});
        let refused = place.server.post(&format!("{}/move", place.path), moved).await;
        assert!(refused.status.is_client_error(), "{}", refused.status);
    }
    let broken = vec![Ok(vec![b'x'; 1_000]), Err(std::io::Error::other("the client went away"))];
    place.put("path=new/deep/x&parents=1", Body::from_stream(stream::iter(broken))).await.problem(400);
    while std::fs::read_dir(&place.directory).unwrap().count() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(place.names("recursive=true").await, ["f"]);
}

#[tokio::test]
async fn what_cannot_be_read_says_so_and_what_has_no_size_is_read() {
    let place = Place::new().await;
    let read = place.get("path=/proc/version", &[]).await;
    let version = std::fs::read("/proc/version").unwrap();
    assert_eq!((read.header("content-length"), &read.body[..]), (Some(&*version.len().to_string()), &version[..]));
    assert_eq!(place.get("path=/proc/version", &[("range", "bytes=0-4")]).await.body, "Linux");
    // Its beginning is never there.
    let message = place.get("path=/proc/self/mem", &[]).await.problem(409);
    assert!(message.starts_with("/proc/self/mem: "), "{message}");
}

#[tokio::test]
async fn paths_that_cannot_be_are_refused_by_the_name_of_their_field() {
    let place = Place::new().await;
    let long = "a/".repeat(2_049);
    for (query, said) in [
        ("path=a%00b", "path: expected a path without a NUL"),
        ("path=a%5Cx00b&escaped=true", "path: expected a path without a NUL"),
        ("path=a%5Cq&escaped=true", "path: expected each backslash doubled"),
        (&format!("path={long}"), "path: expected a path of at most 4096 bytes, got one of 4098"),
    ] {
        let listing = place.server.get(&format!("{}?{query}", place.path)).await.problem(400);
        let archive = place.server.get(&format!("{}/archive?{query}", place.path)).await.problem(400);
        let diff = place.server.get(&format!("{}/diff?{query}", place.path)).await.problem(400);
        let removal = place.server.delete(&format!("{}/file?{query}", place.path)).await.problem(400);
        let read = place.get(query, &[]).await.problem(400);
        let written = place.put(query, "x").await.problem(400);
        for message in [listing, archive, diff, removal, read, written] {
            assert!(message.starts_with(said), "{message} begins with {said}");
        }
    }
    let message = place.put("path=new/&parents=true", "x").await.problem(400);
    assert_eq!(message, "path: expected the path of a file, got one with a slash at its end");
    let moving = format!("{}/move", place.path);
    for (from, to, said) in [("a\0", "b", "from: "), ("a", "b\0", "to: ")] {
        let message = place.server.post(&moving, json!({"from": from, "to": to})).await.problem(400);
        assert!(message.starts_with(&format!("{said}expected a path without a NUL")), "{message}");
    }
    assert_eq!(place.names("").await, [] as [String; 0], "nothing is done");
}

//! The files of the real sandbox, while something in it does its worst.

use std::io::Read as _;

use tenure_core::id::SnapshotId;
use tenure_sandbox::{Backend as _, Launch, Output, Work};
use tenure_tools::files::{Error, FilesClient, Format, Name, Refused, Why};

use crate::real::{Real, SESSION};

pub(crate) fn archive(names: &[&str]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for name in names {
        let mut header = tar::Header::new_gnu();
        header.set_size(7);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &b"content"[..]).expect("appended");
    }
    builder.into_inner().expect("whole")
}

/// A process swaps directories and links under whoever unpacks and packs them.
#[tokio::test]
async fn swaps_of_directories_and_links_lead_nothing_astray() {
    let Some(mut real) = Real::open().await else { return };
    let swapper = "mkdir -p /home/agent/out /workspace/in/d; echo secret > /home/agent/out/secret; cd /workspace; echo begun
        while :; do
            for at in in/d in/.tenure-unpacked-*/d; do
                [ -e $at ] && mv $at away 2>/dev/null && ln -sn /home/agent/out $at 2>/dev/null && rm -f $at; mv away $at 2>/dev/null
            done
        done";
    let argv = ["bash", "-c", swapper].map(str::to_owned).to_vec();
    let work = Work::Exec { argv, env: Vec::new(), cwd: String::new(), stdin: Vec::new() };
    let mut swapping = real.sandbox().launch(Launch::new(work)).await.expect("started");
    assert_eq!(swapping.output.recv().await, Some(Output::Out(b"begun\n".to_vec())));
    let files = FilesClient::new(real.sandbox().clone());
    let names: Vec<String> = (0..40).map(|n| format!("d/{n}/file")).collect();
    let given = archive(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for _ in 0..40 {
        let mut upload = files.unpack(Name::plain("in"), false).await.expect("begun");
        upload.send(&given).await;
        match upload.finish().await {
            Ok(_) | Err(Error::Refused(_)) => {}
            Err(error) => panic!("{error}"),
        }
        let mut body = files.pack(Name::plain("in"), Format::Tar).await.expect("begun");
        let mut packed = Vec::new();
        while let Some(piece) = body.next().await {
            packed.extend(piece.expect("whole"));
        }
        for entry in tar::Archive::new(packed.as_slice()).entries().expect("an archive") {
            let mut entry = entry.expect("an entry");
            let mut content = String::new();
            entry.read_to_string(&mut content).expect("text");
            assert!(!content.contains("secret"), "{:?} was followed", entry.path());
        }
    }
    drop(swapping);
    assert_eq!(real.bash("ls -A /home/agent/out").await, Ok("secret".to_owned()), "nothing was written through a link");
    real.close().await;
}

#[tokio::test]
async fn what_may_not_be_read_is_denied_by_its_name() {
    let Some(real) = Real::open().await else { return };
    let files = FilesClient::new(real.sandbox().clone());
    for path in ["/proc/1/environ", "/proc/1/mem"] {
        match files.read(Name::plain(path), None).await {
            Err(Error::Refused(Refused { why: Why::Denied, message })) => {
                assert_eq!(message, format!("{path}: permission denied"));
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    for (path, parents) in [("/proc/made", false), ("/proc/self/made/here", true), ("/proc/self/comm", false)] {
        let mut upload = files.write(Name::plain(path), parents, None).await.expect("it is asked");
        upload.send(b"words").await;
        match upload.finish().await {
            Err(Error::Refused(Refused { why: Why::Denied, message })) => {
                assert!(
                    message.starts_with("/proc/") && message.contains(": no file can be made in /proc"),
                    "{message}"
                );
            }
            other => panic!("{path}: {other:?}"),
        }
    }
    let mut upload = files.unpack(Name::plain("/proc/self"), false).await.expect("it is asked");
    upload.send(&archive(&["file"])).await;
    let refused = upload.finish().await.expect_err("nothing can be unpacked there");
    assert!(matches!(&refused, Error::Refused(Refused { why: Why::Denied, .. })), "{refused:?}");
    let (slice, mut body) = files.read(Name::plain("/proc/self/status"), None).await.expect("it can be read");
    let mut read = Vec::new();
    while let Some(piece) = body.next().await {
        read.extend(piece.expect("whole"));
    }
    assert!(read.starts_with(b"Name:") && read.len() as u64 == slice.length, "{slice:?}");
    real.close().await;
}

/// A directory of a sealed layer can't be moved from just anywhere: the kernel notes where it came from, in few bytes.
#[tokio::test]
async fn deep_directories_of_a_snapshot_are_removed() {
    let Some(mut real) = Real::open().await else { return };
    let made = "d=/workspace/deep; for n in $(seq 200); do d=$d/level-$n; done; mkdir -p $d && echo x > $d/file; ls";
    assert_eq!(real.bash(made).await, Ok("deep".to_owned()));
    real.backend().snapshot(SESSION, SnapshotId::from_bits(1), None).await.expect("a snapshot");
    let files = FilesClient::new(real.sandbox().clone());
    files.remove(Name::plain("deep"), true).await.expect("removed");
    assert_eq!(real.bash("ls -A /workspace | wc -l").await, Ok("0".to_owned()));
    real.close().await;
}

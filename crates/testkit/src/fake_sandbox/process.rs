//! What is launched in a fake sandbox.

use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use tenure_sandbox::{Control, Error, Exit, Output, ProcessSide};
use tenure_tools::guest::perform_files;
use tokio::sync::{mpsc, watch};

/// The life of the op that works on files.
pub(super) fn work_on_files(directory: &Path, input: &[u8], side: ProcessSide) {
    let ProcessSide { input: given, output, control, end } = side;
    let mut given = Given { pieces: given, piece: Vec::new() };
    let mut out = BufWriter::new(Printed(output));
    let code = perform_files(directory, input, &mut given, &mut out);
    drop(out);
    let _ = end.send(Ok(Exit { code: Some(code), ..Exit::default() }));
    drop(control);
}

/// What comes in, for somebody who waits for it.
struct Given {
    pieces: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
}

impl Read for Given {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = self.pieces.blocking_recv().unwrap_or_default();
        }
        let length = self.piece.as_slice().read(into)?;
        self.piece.drain(..length);
        Ok(length)
    }
}

/// What goes out.
struct Printed(mpsc::Sender<Output>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Output::Out(bytes.to_vec()));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The life of a process that was launched.
pub(super) async fn play(argv: Vec<String>, mut side: ProcessSide, mut gone: watch::Receiver<bool>) {
    let _ = side.output.send(Output::Out(format!("ran: {}\n", argv.join(" ")).into_bytes())).await;
    let end = loop {
        tokio::select! {
            biased;
            () = async { drop(gone.wait_for(|gone| *gone).await) } => break Err(Error::Lost),
            control = side.control.recv() => match control {
                Some(Control::Resize(size)) => {
                    let told = format!("{}x{}\n", size.columns, size.rows);
                    let _ = side.output.send(Output::Out(told.into_bytes())).await;
                }
                Some(Control::Signal(signal)) => break Ok(Exit { signal: Some(signal), ..Exit::default() }),
                None => break Ok(Exit { signal: Some(9), cancelled: true, ..Exit::default() }),
            },
            given = side.input.recv() => match given {
                Some(bytes) => {
                    let _ = side.output.send(Output::Out(bytes)).await;
                }
                None => break Ok(Exit { code: Some(0), ..Exit::default() }),
            },
        }
    };
    let _ = side.end.send(end);
}

/// A directory with the same files.
pub(super) fn copied(of: &tempfile::TempDir) -> std::sync::Arc<tempfile::TempDir> {
    let copy = tempfile::tempdir().expect("a directory can be made");
    let copying = std::process::Command::new("cp").arg("-a").arg(of.path().join(".")).arg(copy.path()).status();
    assert!(copying.expect("cp runs").success(), "files are copied");
    std::sync::Arc::new(copy)
}

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The name that the sandboxes of a directory have on the host: of their group in each cgroup hierarchy, and the first
/// argument of their processes.
///
/// It is made of the directory as well as of its path: in a container, another one may have the same, and whoever ends what is left
/// of its own by this name would end the other's.
pub fn cgroup_name(dir: &Path) -> String {
    // As long as there is none, nothing goes by its name.
    let which = std::fs::metadata(dir).map(|found| (found.dev(), found.ino())).unwrap_or_default();
    let which = [which.0.to_ne_bytes(), which.1.to_ne_bytes()].concat();
    let bytes = dir.as_os_str().as_encoded_bytes().iter().chain(&which);
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("tenure-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::cgroup_name;

    #[test]
    fn another_directory_at_the_same_path_has_another_name() {
        let above = tempfile::tempdir().expect("a directory");
        let [dir, other] = ["data", "other"].map(|name| above.path().join(name));
        std::fs::create_dir(&dir).expect("made");
        std::fs::create_dir(&other).expect("made");
        let names = [cgroup_name(&dir), cgroup_name(&dir), cgroup_name(&other)];
        assert!(names[0] == names[1] && names[0] != names[2], "{names:?}");
        std::fs::rename(&dir, above.path().join("aside")).expect("moved");
        std::fs::rename(&other, &dir).expect("moved");
        assert!(!names.contains(&cgroup_name(&dir)));
    }
}

//! Writing a file in one step: whoever reads it meanwhile reads the old one or the new one.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

/// A file that is written beside the one whose place it takes. Dropping it removes it.
pub(crate) struct NextFile {
    /// Where it is meanwhile.
    pub path: PathBuf,
    to: PathBuf,
}

impl NextFile {
    /// # Errors
    /// With the file that cannot be written.
    pub(crate) fn write(to: &Path, text: &str) -> Result<NextFile, (PathBuf, io::Error)> {
        if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|e| (folder.to_owned(), e))?;
        }
        // A link stays a link.
        let to = fs::canonicalize(to).unwrap_or_else(|_| to.to_owned());
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let next = NextFile { path: to.with_file_name(name), to };
        let failed = |e| (next.path.clone(), e);
        fs::write(&next.path, text).map_err(failed)?;
        if let Ok(about) = fs::metadata(&next.to) {
            fs::set_permissions(&next.path, about.permissions()).map_err(failed)?;
            // Whoever is not root owns both already.
            let _ = chown(&next.path, Some(about.uid()), Some(about.gid()));
        }
        Ok(next)
    }

    /// # Errors
    /// With the file that keeps its old text.
    pub(crate) fn put(self) -> Result<(), (PathBuf, io::Error)> {
        fs::rename(&self.path, &self.to).map_err(|e| (self.to.clone(), e))
    }
}

impl Drop for NextFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

//! What stands behind `cargo bench --bench gateway --`.

use std::path::PathBuf;
use std::time::Duration;

const HELP: &str = "\
cargo bench --bench gateway -- [part …] [option …]

  --quick            shorter runs, and no record of a million calls unless one is there
  --program FILE     measure this program instead of the one just built (or AGENTPASS_BENCH_PROGRAM)
  --against OLD      for the part `compare`: a program, or the commit to build it from
  --label TEXT       how that program was built, for the heading
  --log-level LEVEL  how much the gateway logs (info, as usual)
  --json FILE        the figures for machines, too
  --rebuild          make the record of a million calls anew

parts:";

/// What is measured, and how.
#[derive(Clone)]
pub struct Options {
    parts: Vec<String>,
    pub quick: bool,
    pub program: PathBuf,
    pub label: String,
    pub against: Option<String>,
    pub log_level: String,
    pub json: Option<PathBuf>,
    pub rebuild: bool,
}

impl Options {
    /// None: there is nothing to do. There never is without `--bench`, which `cargo bench` says and `cargo test` does
    /// not: tests measure nothing.
    ///
    /// # Errors
    /// What is wrong with the arguments.
    pub fn from_arguments(parts: &[&str]) -> Result<Option<Options>, String> {
        let mut options = Options::usual();
        if !std::env::args().any(|word| word == "--bench") {
            return Ok(None);
        }
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value"));
            match word.as_str() {
                "--bench" => {}
                "--test" => return Ok(None),
                "--help" | "-h" => {
                    println!("{HELP} {}", parts.join(" "));
                    return Ok(None);
                }
                "--quick" => options.quick = true,
                "--rebuild" => options.rebuild = true,
                "--program" => options.measure(value()?),
                "--against" => options.against = Some(value()?),
                "--label" => options.label = value()?,
                "--log-level" => options.log_level = value()?,
                "--json" => options.json = Some(value()?.into()),
                part if parts.contains(&part) => options.parts.push(word),
                _ => {
                    return Err(format!(
                        "{word} is neither a part nor an option\n\n{HELP} {}",
                        parts.join(" ")
                    ));
                }
            }
        }
        Ok(Some(options))
    }

    fn usual() -> Options {
        let mut options = Options {
            parts: Vec::new(),
            quick: false,
            program: env!("CARGO_BIN_EXE_agentpass").into(),
            label: format!("as cargo built it, opt-level {}", env!("AGENTPASS_OPT_LEVEL")),
            against: None,
            log_level: "info".into(),
            json: None,
            rebuild: false,
        };
        if let Ok(program) = std::env::var("AGENTPASS_BENCH_PROGRAM") {
            options.measure(program);
        }
        options
    }

    fn measure(&mut self, program: String) {
        self.program = program.into();
        self.label = "built elsewhere".into();
    }

    /// Whether this part was asked for; all are when none was named.
    pub fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }

    /// How long one row is measured.
    pub fn time(&self) -> Duration {
        Duration::from_millis(self.pick(5000, 700))
    }

    /// The whole measure, or the shorter one.
    pub fn pick<T>(&self, whole: T, quick: T) -> T {
        if self.quick { quick } else { whole }
    }
}

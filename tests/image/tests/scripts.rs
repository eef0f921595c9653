//! The install scripts, as far as a machine without PowerShell can judge them: they parse.

const SCRIPTS: [(&str, &str); 2] = [
    ("install.ps1", include_str!("../../../inf/install.ps1")),
    ("uninstall.ps1", include_str!("../../../inf/uninstall.ps1")),
];

fn is_powershell(script: &str) -> bool {
    let mut parser = tree_sitter::Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).unwrap();
    !parser.parse(script, None).unwrap().root_node().has_error()
}

#[test]
fn the_scripts_are_powershell_in_ascii() {
    for (name, script) in SCRIPTS {
        // Windows PowerShell reads a file without a mark in the machine's own code page.
        assert!(script.is_ascii(), "{name}");
        assert!(is_powershell(script), "{name}");
    }
}

#[test]
fn a_lost_brace_is_noticed() {
    for (name, script) in SCRIPTS {
        let (before, after) = script.rsplit_once('}').unwrap();
        assert!(!is_powershell(&format!("{before}{after}")), "{name}");
    }
}

//! The recipes that come with Ferry: `transforms/recipes/*.yaml`, compiled in.

use super::parse::{in_words, suggest};

/// How a user names one, as in `builtin:prod-to-staging`.
pub const PREFIX: &str = "builtin:";

/// Names and texts, by name.
pub const RECIPES: [(&str, &str); 7] = [
    (
        "namespace-rename",
        include_str!("../../transforms/recipes/namespace-rename.yaml"),
    ),
    (
        "on-prem-to-cloud",
        include_str!("../../transforms/recipes/on-prem-to-cloud.yaml"),
    ),
    (
        "openshift-to-gateway",
        include_str!("../../transforms/recipes/openshift-to-gateway.yaml"),
    ),
    (
        "openshift-to-kubernetes",
        include_str!("../../transforms/recipes/openshift-to-kubernetes.yaml"),
    ),
    (
        "prod-to-staging",
        include_str!("../../transforms/recipes/prod-to-staging.yaml"),
    ),
    (
        "registry-mirror",
        include_str!("../../transforms/recipes/registry-mirror.yaml"),
    ),
    (
        "storage-class-swap",
        include_str!("../../transforms/recipes/storage-class-swap.yaml"),
    ),
];

/// The text of a recipe.
pub fn find(name: &str) -> Option<&'static str> {
    let mut recipes = RECIPES.iter();
    recipes.find_map(|(known, text)| (*known == name).then_some(*text))
}

/// What to do about a name that none has.
pub(super) fn advice(name: &str) -> String {
    let names = RECIPES.map(|(name, _)| name);
    suggest(name, &names).unwrap_or_else(|| format!("Ferry's own recipes are {}", in_words(&names)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_compiled_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/transforms/recipes");
        let files = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = files
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, RECIPES.map(|(name, _)| name));
    }

    #[test]
    fn a_misspelt_name_gets_a_suggestion() {
        assert_eq!(
            advice("prod-to-stagging"),
            "did you mean `prod-to-staging`?"
        );
    }
}

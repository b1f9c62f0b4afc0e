//! Which tensors a person means.

use super::Failure;
use crate::config::yaml::closest;
use crate::plan::MergePlan;

/// Positions in output order of the tensors that any of `wanted` names; all of them when it is empty.
///
/// A name is a whole name, else a pattern when it has `*` or `?`, else a part of names.
pub(super) fn choose(plan: &MergePlan, wanted: &[String]) -> Result<Vec<usize>, Failure> {
    let names: Vec<&str> = plan.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    let mut chosen = vec![wanted.is_empty(); names.len()];
    for wanted in wanted {
        let found = matching(&names, wanted);
        if found.is_empty() {
            return Err(unknown(plan, &names, wanted));
        }
        found.into_iter().for_each(|index| chosen[index] = true);
    }
    Ok((0..names.len()).filter(|&index| chosen[index]).collect())
}

fn matching(names: &[&str], wanted: &str) -> Vec<usize> {
    if let Some(index) = names.iter().position(|name| *name == wanted) {
        return vec![index];
    }
    let is_pattern = wanted.contains(['*', '?']);
    let is_meant = |name: &str| match is_pattern {
        true => matches(wanted.as_bytes(), name.as_bytes()),
        false => name.contains(wanted),
    };
    (0..names.len()).filter(|&index| is_meant(names[index])).collect()
}

/// Whether `pattern` is for the whole of `name`: `*` stands for any text, `?` for one character.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // Positions behind the last `*`, and of what it may have to take in more of.
    let (mut p, mut n, mut retry) = (0, 0, None);
    while n < name.len() {
        if p < pattern.len() && (pattern[p] == b'?' || pattern[p] == name[n]) && pattern[p] != b'*'
        {
            (p, n) = (p + 1, n + 1);
        } else if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, n));
        } else if let Some((behind, taken)) = retry {
            (p, n) = (behind, taken + 1);
            retry = Some((behind, taken + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

fn unknown(plan: &MergePlan, names: &[&str], wanted: &str) -> Failure {
    if let Some((tied, tensor)) = tied(plan, names, wanted) {
        return Failure::refused(
            format!("the output has no tensor `{wanted}`: `{tied}` is tied"),
            format!("it is `{tensor}`"),
        );
    }
    let meant = closest(wanted, names.iter().copied())
        .or_else(|| closest(wanted, names.iter().flat_map(|name| runs_of_parts(name, wanted))));
    Failure::refused(
        format!("the output has no tensor `{wanted}`"),
        match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "`mergekit plan` without `--tensor` lists the kinds of tensors; a part of a \
                name or a pattern such as `*.mlp.*` does as well"
                .to_owned(),
        },
    )
}

/// The tensor that `wanted` would name if it were not tied to another of the output, and that other.
fn tied(plan: &MergePlan, names: &[&str], wanted: &str) -> Option<(String, String)> {
    plan.donor().architecture.modules().find_map(|(_, module, n_layers)| {
        module.tensors(n_layers).find_map(|(location, template)| {
            let tensor = template.names_for(location, n_layers);
            let name = template.name_for(location, n_layers);
            let stands_in = tensor.tied.into_iter().find(|tied| names.contains(&tied.as_str()));
            stands_in.filter(|_| !matching(&[&name], wanted).is_empty()).map(|tied| (name, tied))
        })
    })
}

/// What of `name` has as many parts between dots as `wanted`.
fn runs_of_parts<'n>(name: &'n str, wanted: &str) -> Vec<&'n str> {
    let n_parts = wanted.split('.').count();
    let starts = std::iter::once(0).chain(name.match_indices('.').map(|(dot, _)| dot + 1));
    starts
        .filter_map(|start| {
            let rest = &name[start..];
            let mut ends = rest.match_indices('.').map(|(dot, _)| dot).chain([rest.len()]);
            Some(&rest[..ends.nth(n_parts - 1)?])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_for_whole_names() {
        let is = |pattern: &str, name: &str| matches(pattern.as_bytes(), name.as_bytes());
        assert!(is("model.*.weight", "model.layers.0.weight"));
        assert!(is("*q_proj*", "layers.1.q_proj.weight"));
        assert!(is("layers.?.x", "layers.3.x"));
        assert!(is("*", ""));
        assert!(is("a*b*c", "a.b.b.c"));
        assert!(!is("layers.?.x", "layers.10.x"));
        assert!(!is("q_proj*", "layers.q_proj"));
        assert!(!is("a*b", "a.b.c"));
        assert!(!is("?", ""));
    }

    #[test]
    fn runs_have_as_many_parts_as_was_written() {
        assert_eq!(runs_of_parts("a.b.c", "x"), ["a", "b", "c"]);
        assert_eq!(runs_of_parts("a.b.c", "x.y"), ["a.b", "b.c"]);
        assert_eq!(runs_of_parts("a.b.c", "x.y.z"), ["a.b.c"]);
        assert!(runs_of_parts("a.b.c", "w.x.y.z").is_empty());
    }

    #[test]
    fn whole_names_come_before_parts_and_patterns() {
        let names = ["norm", "a.norm", "b.norm.x"];
        assert_eq!(matching(&names, "norm"), [0]);
        assert_eq!(matching(&names, "norm."), [2]);
        assert_eq!(matching(&names, "*norm"), [0, 1]);
        assert_eq!(matching(&names, "*.norm*"), [1, 2]);
        assert!(matching(&names, "x.norm").is_empty());
    }
}

//! Finds the few rules of many whose literal beginning fits a signature.
//!
//! Only a shortcut: it leaves out rules that cannot match, and says nothing about those it gives. It knows
//! beginnings and places in a list, not rules.

use std::collections::BTreeMap;

/// Places in a list, by the literal beginning of what stands there.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// Sorted by `beginning`, each one once.
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
struct Node {
    beginning: String,
    /// The longest other node whose beginning this one's starts with.
    shorter: Option<usize>,
    places: Vec<usize>,
}

impl Index {
    /// An index of places, in ascending order, each with its beginning.
    pub(crate) fn new<'a>(beginnings: impl Iterator<Item = (usize, &'a str)>) -> Self {
        let mut sorted: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, beginning) in beginnings {
            sorted.entry(beginning).or_default().push(place);
        }
        let mut nodes: Vec<Node> = Vec::with_capacity(sorted.len());
        for (beginning, places) in sorted {
            // Whatever begins this one stands before it, and begins the one right before it too (or is it).
            let shorter = chain(&nodes, nodes.len().checked_sub(1))
                .find(|(_, node)| beginning.starts_with(&node.beginning));
            let shorter = shorter.map(|(at, _)| at);
            nodes.push(Node { beginning: beginning.to_owned(), shorter, places });
        }
        Self { nodes }
    }

    /// The places whose beginning is one of `text`'s, in ascending groups, the longest beginning first.
    pub(crate) fn candidates<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a [usize]> {
        let nearest = self.nodes.partition_point(|node| node.beginning.as_str() <= text).checked_sub(1);
        chain(&self.nodes, nearest)
            .filter(|(_, node)| text.starts_with(&node.beginning))
            .map(|(_, node)| node.places.as_slice())
    }
}

/// The node at `start` and its ever shorter beginnings.
fn chain(nodes: &[Node], start: Option<usize>) -> impl Iterator<Item = (usize, &Node)> {
    let node_at = |at: usize| nodes.get(at).map(|node| (at, node));
    std::iter::successors(start.and_then(node_at), move |(_, node)| node.shorter.and_then(node_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_exactly_the_beginnings() {
        let index = Index::new(["a(", "", "a(b", "b", "a(", "a(c", "a(b)x", "a"].into_iter().enumerate());
        let table: [(&str, &[&[usize]]); 6] = [
            ("a(b)", &[&[2], &[0, 4], &[7], &[1]]),
            ("a(b)x", &[&[6], &[2], &[0, 4], &[7], &[1]]),
            ("a(bz", &[&[2], &[0, 4], &[7], &[1]]),
            ("a(d", &[&[0, 4], &[7], &[1]]),
            ("", &[&[1]]),
            ("c", &[&[1]]),
        ];
        for (text, expected) in table {
            assert_eq!(index.candidates(text).collect::<Vec<_>>(), expected, "{text}");
        }
        assert_eq!(Index::new(std::iter::empty()).candidates("a").count(), 0);
    }
}

//! Reads the source: the kinds, their fields, the frames they print and which of them have effects.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use quote::ToTokens;
use syn::visit::Visit;
use syn::{Attribute, Expr, Item, Lit, Meta, Variant};

/// A kind of fact as the core declares it.
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) variant: String,
    pub(super) doc: String,
    pub(super) fields: Vec<Field>,
}

/// A field of a fact.
pub(super) struct Field {
    pub(super) name: String,
    pub(super) ty: String,
    pub(super) doc: String,
    pub(super) optional: bool,
}

/// What a kind prints on `/v1`.
pub(super) struct Frames {
    pub(super) types: Vec<String>,
    /// Whether only clients that ask for Tenure's own events see it.
    pub(super) on_request: bool,
}

/// Every kind of the enum `Fact`, in order.
pub(super) fn kinds(text: &str) -> Result<Vec<Kind>> {
    let file = syn::parse_file(text).context("parsing the facts")?;
    let facts = file.items.iter().find_map(|item| match item {
        Item::Enum(found) if found.ident == "Fact" => Some(found),
        _ => None,
    });
    Ok(facts.context("there is no `enum Fact`")?.variants.iter().map(kind).collect())
}

fn kind(variant: &Variant) -> Kind {
    let fields = variant.fields.iter().map(|field| {
        let ty = field.ty.to_token_stream().to_string().replace(' ', "");
        Field {
            name: field.ident.as_ref().map(ToString::to_string).unwrap_or_default(),
            optional: ty.starts_with("Option<"),
            ty: ty.trim_start_matches("Option<Option<").trim_start_matches("Option<").trim_end_matches(">>").to_owned(),
            doc: doc(&field.attrs),
        }
    });
    let variant_name = variant.ident.to_string();
    Kind {
        name: snake(&variant_name),
        doc: doc(&variant.attrs),
        fields: fields.map(tidy_type).collect(),
        variant: variant_name,
    }
}

/// `Option<X<Y>>` has lost a bracket too many or too few by now; the plain name is what a reader needs.
fn tidy_type(mut field: Field) -> Field {
    let opened = field.ty.matches('<').count();
    let closed = field.ty.matches('>').count();
    if opened > closed {
        field.ty += &">".repeat(opened - closed);
    } else {
        field.ty.truncate(field.ty.len() - (closed - opened));
    }
    field.ty = field.ty.replace("Arc<Definition>", "Definition");
    field
}

fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ").replace("[`Fact::", "`").replace("`]", "`")
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// The dialect's own table `KINDS`: the types a kind may print, and for whom.
pub(super) fn frames(text: &str) -> Result<BTreeMap<String, Frames>> {
    let file = syn::parse_file(text).context("parsing the printer of events")?;
    let constants: BTreeMap<String, &Expr> = file
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Const(constant) => Some((constant.ident.to_string(), &*constant.expr)),
            _ => None,
        })
        .collect();
    let kinds = constants.get("KINDS").context("there is no constant `KINDS`")?;
    let mut frames = BTreeMap::new();
    for row in elements(kinds, &constants)? {
        let Expr::Tuple(row) = row else { bail!("a line of `KINDS` is no tuple") };
        let [name, types, audience] = &row.elems.iter().collect::<Vec<_>>()[..] else {
            bail!("a line of `KINDS` isn't (kind, types, audience)");
        };
        let types = elements(types, &constants)?.into_iter().map(string).collect::<Result<_>>()?;
        let on_request = audience.to_token_stream().to_string().ends_with("Asking");
        frames.insert(string(name)?, Frames { types, on_request });
    }
    Ok(frames)
}

/// The elements of `&[…]`, or of the constant that is named.
fn elements<'e>(expression: &'e Expr, constants: &BTreeMap<String, &'e Expr>) -> Result<Vec<&'e Expr>> {
    match expression {
        Expr::Reference(reference) => elements(&reference.expr, constants),
        Expr::Array(array) => Ok(array.elems.iter().collect()),
        Expr::Path(path) => {
            let name = path.to_token_stream().to_string();
            let named = constants.get(&name).with_context(|| format!("there is no constant `{name}`"))?;
            elements(named, constants)
        }
        other => bail!("expected a list, got `{}`", other.to_token_stream()),
    }
}

fn string(expression: &Expr) -> Result<String> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Ok(text.value()),
            _ => bail!("expected a string"),
        },
        _ => bail!("expected a string"),
    }
}

/// The variants for which `effects` gives more than nothing.
pub(super) fn with_effects(text: &str) -> Result<BTreeSet<String>> {
    let file = syn::parse_file(text).context("parsing the effects")?;
    let effects = file.items.iter().find_map(|item| match item {
        Item::Fn(function) if function.sig.ident == "effects" => Some(function),
        _ => None,
    });
    let mut arms = Arms::default();
    arms.visit_item_fn(effects.context("there is no function `effects`")?);
    Ok(arms.variants)
}

#[derive(Default)]
struct Arms {
    variants: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Arms {
    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if arm.body.to_token_stream().to_string().replace(' ', "") == "Vec::new()" {
            return;
        }
        let pattern = arm.pat.to_token_stream().to_string().replace(' ', "");
        let names = pattern.split("Fact::").skip(1);
        let name = |rest: &str| rest.chars().take_while(|letter| letter.is_alphanumeric()).collect();
        self.variants.extend(names.map(name));
    }
}

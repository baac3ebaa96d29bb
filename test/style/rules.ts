import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseSync, Visitor, type Comment, type ParseResult } from 'oxc-parser';

/** The rules of CONTRIBUTING.md that a program can check. */
export type Rule = 'lines' | 'functions' | 'columns' | 'openings' | 'words' | 'links';

export interface Finding {
  readonly rule: Rule;
  readonly line: number;
  readonly message: string;
}

export interface SourceFile {
  /** Relative to the root of the project, with `/`. */
  readonly name: string;
  readonly text: string;
}

const MAX_LINES = 400;
const MAX_FUNCTION_LINES = 70;
const MAX_COLUMNS = 100;

/** A word, and what this project says instead. docs/glossary.md has the terms. */
const DENIED_WORDS: readonly (readonly [RegExp, string])[] = [
  [/\bmend(s|ed|ing)?\b/i, 'fix, correct'],
  [/\bnobody's\b/i, 'belongs to no …'],
  [/\b(is|are|was|were|be|been|being|stays?|store|server|database|log) away\b/i, 'unavailable'],
  [/\btwins? of (a|the|this|that) request/i, 'concurrent duplicate'],
  [/\b(go|goes|going|gone|went) on\b(?! to\b)/i, 'resume, continue'],
  [/hurr(y|ies|ied)/i, 'wake'],
  [/situation/i, 'status'],
  [/\b(mayPass|isPassing|passing error|lasting error)/, 'isTransient, transient, permanent'],
  [/\btopics? of dead letters\b/i, 'dead-letter topic'],
  [/\blooks? ?around\b/i, 'checks for work'],
  [/\bby (itself|themselves)\b/i, 'automatically, alone'],
  [/\bsuch as it is\b/i, 'for example'],
  [/\bstands? still\b/i, 'stops, waits'],
  [/\bhears? of\b/i, 'learns of, receives'],
];

/** Files that name denied words, or links that lead nowhere, on purpose. */
const IS_ABOUT_STYLE = /^(docs\/glossary\.md|test\/style\b.*)$/;

const IS_GENERATED = /^console\/src\/api\/openapi\.d\.ts$/;

export function findingsOf(file: SourceFile): Finding[] {
  const { name } = file;
  if (IS_GENERATED.test(name)) return [];
  const lines = file.text.split('\n');
  const found: Finding[] = [...tooLong(lines)];
  if (!IS_ABOUT_STYLE.test(name)) found.push(...deniedWords(lines), ...links(file, lines));
  if (name.endsWith('.md')) return [...found, ...tooWide(withoutTablesAndCode(lines))];
  found.push(...tooWide(/(\.yml|Dockerfile)$/.test(name) ? commentsOf(lines) : lines));
  if (!/(?<!\.d)\.tsx?$/.test(name)) return found;
  const parsed = parseSync(name, file.text);
  const lineOf = lineFinder(file.text);
  return [...found, ...longFunctions(parsed, lineOf), ...fragments(parsed.comments, lineOf)];
}

function tooLong(lines: readonly string[]): Finding[] {
  const count = lines.length - 1;
  if (count <= MAX_LINES) return [];
  return [{ rule: 'lines', line: count, message: `${count} lines, at most ${MAX_LINES}` }];
}

/** The path of an import, and what has no blank, cannot be wrapped. */
function tooWide(lines: readonly string[]): Finding[] {
  return lines.flatMap((line, index) =>
    line.length <= MAX_COLUMNS || /^((import|export|\}) .* from '|\s*\S+$)/.test(line)
      ? []
      : [{ rule: 'columns', line: index + 1, message: `${line.length} columns` }],
  );
}

/** Tables cannot be wrapped, and commands are there to be copied. */
function withoutTablesAndCode(lines: readonly string[]): string[] {
  let isCode = false;
  return lines.map((line) => {
    if (line.startsWith('```')) isCode = !isCode;
    return isCode || line.startsWith('|') ? '' : line;
  });
}

/** A setting with a URL cannot be wrapped. */
function commentsOf(lines: readonly string[]): string[] {
  return lines.map((line) => (line.trimStart().startsWith('#') ? line : ''));
}

function deniedWords(lines: readonly string[]): Finding[] {
  return lines.flatMap((line, index) =>
    DENIED_WORDS.flatMap(([pattern, instead]) => {
      const word = pattern.exec(line)?.[0];
      if (word === undefined) return [];
      return [{ rule: 'words', line: index + 1, message: `'${word}': say ${instead}` }];
    }),
  );
}

/** A comment that begins so is half a sentence, which needs the line below to be understood. */
function fragments(comments: readonly Comment[], lineOf: (offset: number) => number): Finding[] {
  let lastLine = -1;
  return comments.flatMap((comment) => {
    const line = lineOf(comment.start);
    // A comment of `//` on the line after another one continues it.
    const continues = comment.type === 'Line' && line === lastLine + 1;
    lastLine = comment.type === 'Line' ? line : -1;
    const opening = /^[\s*]*(Of|By|For|Also)\b/.exec(comment.value)?.[1];
    if (opening === undefined || continues) return [];
    return [{ rule: 'openings', line, message: `a comment begins with '${opening}'` }];
  });
}

interface Spanned {
  readonly start: number;
  readonly end: number;
}

function longFunctions({ program }: ParseResult, lineOf: (offset: number) => number): Finding[] {
  const found: Finding[] = [];
  /** The callback of `describe` is a list of tests. */
  const lists = new Set<unknown>();
  const check = (node: Spanned) => {
    const [first, last] = [lineOf(node.start), lineOf(node.end)];
    const count = last - first + 1;
    if (count <= MAX_FUNCTION_LINES || lists.has(node)) return;
    const message = `a function of ${count} lines, at most ${MAX_FUNCTION_LINES}`;
    found.push({ rule: 'functions', line: first, message });
  };
  new Visitor({
    CallExpression({ callee, arguments: given }) {
      const called = callee.type === 'MemberExpression' ? callee.object : callee;
      const isDescribe = called.type === 'Identifier' && called.name === 'describe';
      const isEach = called.type === 'CallExpression';
      if (isDescribe || isEach) for (const argument of given) lists.add(argument);
    },
    FunctionDeclaration: check,
    FunctionExpression: check,
    ArrowFunctionExpression: check,
  }).visit(program);
  return found;
}

function lineFinder(text: string): (offset: number) => number {
  const starts = [0];
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return (offset) => {
    let [low, high] = [0, starts.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((starts[middle] ?? Infinity) <= offset) low = middle;
      else high = middle;
    }
    return low + 1;
  };
}

const DECISIONS = new Set(
  readdirSync('docs/decisions').map((name) => Number.parseInt(name.slice(0, 4), 10)),
);

function links({ name, text }: SourceFile, lines: readonly string[]): Finding[] {
  const found: Finding[] = [];
  const report = (line: number, message: string) => found.push({ rule: 'links', line, message });
  for (const [index, line] of lines.entries()) {
    for (const [, number] of line.matchAll(/\bdecisions? (\d+)\b/gi)) {
      if (!DECISIONS.has(Number(number))) report(index + 1, `there is no decision ${number}`);
    }
  }
  if (!name.endsWith('.md')) return found;
  if (name === 'ARCHITECTURE.md') {
    for (const { index, groups } of text.matchAll(/`(?<file>[\w.-]+\/[\w./-]+\.ts)`/g)) {
      const file = groups?.['file'] ?? '';
      if (existsSync(file) || existsSync(`src/${file}`)) continue;
      report(text.slice(0, index).split('\n').length, `there is no ${file}`);
    }
  }
  const folder = path.dirname(name);
  for (const { index, groups } of text.matchAll(/\]\((?<target>[^)\s]+)\)/g)) {
    const target = groups?.['target'] ?? '';
    if (/^[a-z]+:/.test(target)) continue;
    const [file = '', anchor] = target.split('#');
    const linked = file === '' ? name : path.join(folder, file);
    const line = text.slice(0, index).split('\n').length;
    if (!existsSync(linked)) report(line, `there is no ${linked}`);
    else if (anchor !== undefined && !anchorsOf(linked).has(anchor)) {
      report(line, `${linked} has no heading #${anchor}`);
    }
  }
  return found;
}

function anchorsOf(file: string): Set<string> {
  const headings = readFileSync(file, 'utf8').matchAll(/^#+ (.*)$/gm);
  return new Set(
    [...headings].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\w\s-]/g, '')
        .trim()
        .replaceAll(' ', '-'),
    ),
  );
}

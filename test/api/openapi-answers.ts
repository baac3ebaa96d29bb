import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

/** What is read of an OpenAPI 3.1 document. Of references, only schemas hold any. */
export interface OpenApiDocument {
  readonly openapi: string;
  readonly servers: readonly { readonly url: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

export interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly description?: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly required?: boolean; readonly content: Content };
  readonly responses: Readonly<Record<string, DocumentedAnswer>>;
}

export interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required?: boolean;
  readonly schema: object;
}

export interface DocumentedAnswer {
  readonly description: string;
  readonly headers?: Readonly<Record<string, { readonly required?: boolean }>>;
  readonly content?: Content;
}

export type Content = Readonly<
  Record<
    string,
    {
      readonly schema: object;
      readonly example?: unknown;
      readonly examples?: Readonly<Record<string, unknown>>;
    }
  >
>;

/** An answer as it came over the wire. */
export interface WireAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

const PROBLEM = 'application/problem+json';

/** A schema of the document, by its JSON pointer, as a function. */
export function schemaCompiler(document: OpenApiDocument): (pointer: string) => ValidateFunction {
  const ajv = new Ajv2020({ allErrors: true, strict: false });
  addFormats.default(ajv);
  ajv.addSchema(document, 'openapi.json');
  return (pointer) => ajv.compile({ $ref: `openapi.json#${pointer}` });
}

/** A JSON pointer (RFC 6901), as the fragment of a URI. */
export function pointerTo(...keys: readonly string[]): string {
  return keys
    .map((key) => `/${encodeURIComponent(key.replaceAll('~', '~0').replaceAll('/', '~1'))}`)
    .join('');
}

/**
 * Holds answers against the document: an undocumented status, content type, code or missing header,
 * or a body that breaks its schema, is an error that says so.
 */
export class DocumentedAnswers {
  readonly #document: OpenApiDocument;
  readonly #compile: (pointer: string) => ValidateFunction;
  readonly #validators = new Map<string, ValidateFunction>();
  readonly #basePath: string;

  constructor(document: OpenApiDocument) {
    this.#document = document;
    this.#compile = schemaCompiler(document);
    this.#basePath = document.servers[0]?.url ?? '';
  }

  /** @throws Error that names what is not as documented */
  check(method: string, pathAndQuery: string, answer: WireAnswer): void {
    const complaints = this.#complaints(method, pathAndQuery, answer);
    if (complaints.length === 0) return;
    throw new Error(
      `${method} ${pathAndQuery} answered ${answer.status}, not as documented: ` +
        `${complaints.join('; ')}\n${answer.text.slice(0, 2_000)}`,
    );
  }

  #complaints(method: string, pathAndQuery: string, answer: WireAnswer): string[] {
    const [path = ''] = pathAndQuery.split('?');
    if (!path.startsWith(`${this.#basePath}/`)) return [];
    return [
      ...missingHeaders(answer, ['X-Correlation-Id']),
      ...complaintsOfPosition(answer),
      ...this.#complaintsOfBody(method, path.slice(this.#basePath.length), answer),
    ];
  }

  #complaintsOfBody(method: string, path: string, answer: WireAnswer): string[] {
    const found = this.#templateOf(method.toLowerCase(), path);
    if (found === undefined) return this.#complaintsOutsideDocument(answer);
    const { template, operation } = found;
    const documented = operation.responses[String(answer.status)];
    if (documented === undefined) return [`status ${answer.status} is not documented`];
    const required = Object.entries(documented.headers ?? {})
      .filter(([, header]) => header.required === true)
      .map(([name]) => name);
    return [
      ...missingHeaders(answer, required),
      ...this.#complaintsOfContent(
        answer,
        documented.content ?? {},
        pointerTo('paths', template, method.toLowerCase(), 'responses', String(answer.status)),
      ),
    ];
  }

  #complaintsOfContent(answer: WireAnswer, content: Content, pointer: string): string[] {
    const type = contentType(answer);
    if (Object.keys(content).length === 0) {
      return answer.text === '' ? [] : ['no body is documented'];
    }
    const documented = type === undefined ? undefined : content[type];
    if (type === undefined || documented === undefined) {
      return [`content type ${type} is not documented`];
    }
    const body: unknown = type.endsWith('json') ? JSON.parse(answer.text) : answer.text;
    const validate = this.#validator(`${pointer}${pointerTo('content', type, 'schema')}`);
    const complaints = schemaComplaints(validate, body);
    if (type !== PROBLEM) return complaints;
    const { code } = body as { code: string };
    const isListed = Object.keys(documented.examples ?? {}).includes(code);
    return isListed ? complaints : [...complaints, `code ${code} is not documented`];
  }

  /**
   * No path, or no method of the path: the document cannot list these, but says what a problem is.
   */
  #complaintsOutsideDocument(answer: WireAnswer): string[] {
    if (![401, 404, 405, 422].includes(answer.status)) {
      return [`status ${answer.status} where nothing is documented`];
    }
    const type = contentType(answer);
    if (type !== PROBLEM) return [`content type ${type} of a problem`];
    const pointer = pointerTo('components', 'schemas', 'Problem');
    return schemaComplaints(this.#validator(pointer), JSON.parse(answer.text));
  }

  /** A path without parameters goes before one with, as OpenAPI has it. */
  #templateOf(
    method: string,
    path: string,
  ): { readonly template: string; readonly operation: Operation } | undefined {
    const matching = Object.entries(this.#document.paths)
      .filter(([template, operations]) => operations[method] !== undefined && fits(template, path))
      .toSorted(([a], [b]) => a.split('{').length - b.split('{').length);
    const [template, operations] = matching[0] ?? [];
    const operation = operations?.[method];
    return template === undefined || operation === undefined ? undefined : { template, operation };
  }

  #validator(pointer: string): ValidateFunction {
    let validate = this.#validators.get(pointer);
    if (validate === undefined) {
      validate = this.#compile(pointer);
      this.#validators.set(pointer, validate);
    }
    return validate;
  }
}

function fits(template: string, path: string): boolean {
  const wanted = template.split('/');
  // A slash at the end makes no difference.
  const given = path.replace(/\/$/, '').split('/');
  return (
    wanted.length === given.length &&
    wanted.every((part, index) =>
      part.startsWith('{') ? given[index] !== '' : part === given[index],
    )
  );
}

function contentType({ headers }: WireAnswer): string | undefined {
  return headers.get('content-type')?.split(';')[0]?.trim().toLowerCase();
}

/** Answers say what position they are of, but not to somebody whose key was not accepted. */
function complaintsOfPosition({ status, headers }: WireAnswer): string[] {
  const isThere = headers.has('Fleetledger-Position');
  if (status === 401 && isThere) return ['a stranger is told the position of the log'];
  return status < 400 && !isThere ? ['header Fleetledger-Position is missing'] : [];
}

function missingHeaders({ headers }: WireAnswer, names: readonly string[]): string[] {
  return names.filter((name) => !headers.get(name)).map((name) => `header ${name} is missing`);
}

function schemaComplaints(validate: ValidateFunction, body: unknown): string[] {
  if (validate(body)) return [];
  return (validate.errors ?? []).map(
    ({ instancePath, message, params }) =>
      `body${instancePath} ${message} ${JSON.stringify(params)}`,
  );
}

// The search page: sends POST /v1/search, renders the reply, and reports impressions and clicks to POST /v1/events. No library, no build step.
// Catalog text and user text are inserted as text, never as HTML.
"use strict";

const TEXTS = {
  en: {
    skip: "Skip to results", words: "Search words", words_hint: "Search by words, image, or both", add_image: "Search by image",
    remove_image: "Remove the image", search: "Search", language: "Language", filters: "Filters", clear: "Clear all", done: "Show results",
    welcome: "Search by words, by image, or both", drop: "Drop the image to search with it", pages: "Pages",
    welcome_how: "Type in English or Chinese, drop or paste an image, or combine both.",
    previous: "← Previous", next: "Next →", where: (from, to, total) => `${from}–${to} of ${total}`,
    count: (total) => `<${total}> ${total === 1 ? "match" : "matches"}`, took: (ms) => `${ms} ms`,
    reach: (reachable) => `the best ${reachable} are shown`,
    none: "No matches", none_how: "Try fewer words, another image, or fewer filters.", clear_filters: "Clear filters",
    failed: "The search failed", unreachable: "The server does not answer.", again: "Try again",
    degraded: (steps) => `Some steps were skipped: ${steps}`, why: "Why?", similar: "Similar", found_by: "Found by", image_position: (n) => `image ${n}`,
    bm25: "words", text: "meaning", image: "image", aligned: "text to image", seed: "Similar to", no_image: "no image", out: "out of stock", close: "Close",
    share: "Score by feature", sum: (bias, features, score) => `base ${bias} + features ${features} = ${score}`, rest: (n) => `${n} other features`,
    fused_order: "Ranked by the fused score; the ranker did not run.", brand: "Brand", category: "Category", price: "Price", in_stock: "In stock",
    yes: "Available", no: "Out of stock", from: "from", to: "to", apply: "OK", more: (n) => `Show all ${n}`, unreadable: "This image cannot be read.",
    served: (n, release) => `${n} products · release ${release}`, your_image: "your image",
    examples: ["red cotton dress", "blue backpack", "wooden table lamp", "running shoes"],
  },
  zh: {
    skip: "跳到结果", words: "搜索词", words_hint: "用文字、图片或两者一起搜索", add_image: "用图片搜索",
    remove_image: "移除图片", search: "搜索", language: "语言", filters: "筛选", clear: "全部清除", done: "查看结果",
    welcome: "用文字、图片，或两者一起找到它", drop: "松开即可用这张图片搜索", pages: "分页",
    welcome_how: "输入中文或英文，拖入或粘贴一张图片，也可以两者结合。",
    previous: "← 上一页", next: "下一页 →", where: (from, to, total) => `第 ${from}–${to} 个，共 ${total} 个`,
    count: (total) => `<${total}> 个匹配商品`, took: (ms) => `${ms} 毫秒`,
    reach: (reachable) => `显示最相关的 ${reachable} 个`,
    none: "没有匹配的商品", none_how: "试试更少的词、另一张图片，或去掉一个筛选条件。", clear_filters: "清除筛选",
    failed: "没有成功", unreachable: "服务器没有响应。", again: "再试一次",
    degraded: (steps) => `部分步骤被跳过：${steps}`, why: "为什么？", similar: "相似商品", found_by: "召回来源", image_position: (n) => `第 ${n} 张图`,
    bm25: "词语", text: "语义", image: "图片", aligned: "以文搜图", seed: "相似于", no_image: "暂无图片", out: "缺货", close: "关闭",
    share: "各特征得分", sum: (bias, features, score) => `基础分 ${bias} + 特征 ${features} = ${score}`, rest: (n) => `其余 ${n} 个特征`,
    fused_order: "按融合得分排序；排序器未运行。", brand: "品牌", category: "类目", price: "价格", in_stock: "库存",
    yes: "有货", no: "缺货", from: "最低", to: "最高", apply: "确定", more: (n) => `显示全部 ${n} 项`, unreadable: "无法读取这张图片。",
    served: (n, release) => `${n} 个商品 · 版本 ${release}`, your_image: "你的图片",
    examples: ["红色 棉 连衣裙", "蓝色双肩包", "木质 台灯", "运动鞋"],
  },
};
const PAGE_SIZE = 24;
const MAX_FACETS = 14;
const VALUES_SHOWN = 10;
const MAX_IMAGE_SIDE = 1024; // pixels; encoders use far fewer
const SHARES_SHOWN = 7;

const $ = (id) => document.getElementById(id);
const state = {
  language: localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en"),
  words: "", image: null, seed: null, filters: {}, offset: 0, reply: null, facets: {}, facetNames: [], release: null, turn: 0, currency: null,
  opened: new Set(), // facets that show all their values
};
const session = sessionStorage.getItem("session") || randomId();
sessionStorage.setItem("session", session);

// ---- helpers ----

function t(key, ...values) {
  const text = TEXTS[state.language][key];
  return typeof text === "function" ? text(...values) : text;
}

function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "dataset") Object.assign(node.dataset, value);
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function digitsOf(currency) {
  try {
    return new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits;
  } catch { return 2; }
}

function money(price) {
  if (!price) return "";
  const amount = price.minor_units / 10 ** digitsOf(price.currency);
  try {
    return new Intl.NumberFormat(state.language, { style: "currency", currency: price.currency }).format(amount);
  } catch { return `${amount} ${price.currency}`; }
}

const number = (value) => new Intl.NumberFormat(state.language).format(value);
const decimal = (value) => (value < 0 ? "−" : "") + Math.abs(value).toFixed(Math.abs(value) >= 100 ? 1 : 3);
const human = (name) => name.replace(/^attributes\./, "").replace(/[_.]/g, " ");

// ---- requests ----

function searchBody(changes = {}) {
  const body = { filters: state.filters, offset: state.offset, limit: PAGE_SIZE, facets: state.facetNames, session_id: session, ...changes };
  if (state.words) body.text = state.words;
  else if (!state.seed) body.locale = state.language;
  return body;
}

async function send(body) {
  if (state.seed) return parseReply(await fetch(`/v1/similar/${encodeURIComponent(state.seed.product_id)}?${parameters(body)}`));
  if (state.image) {
    const form = new FormData();
    form.append("request", JSON.stringify(body));
    form.append("image", state.image.blob, "query.jpg");
    return parseReply(await fetch("/v1/search", { method: "POST", body: form }));
  }
  const headers = { "Content-Type": "application/json" };
  return parseReply(await fetch("/v1/search", { method: "POST", headers, body: JSON.stringify(body) }));
}

function parameters(body) {
  const query = new URLSearchParams({ offset: body.offset, limit: body.limit, session_id: session });
  if (body.explain) query.set("explain", "true");
  if (body.request_id) query.set("request_id", body.request_id);
  for (const name of body.facets) query.append("facets", name);
  const filters = body.filters;
  for (const brand of filters.brands || []) query.append("brand", brand);
  for (const part of filters.category || []) query.append("category", part);
  for (const name of ["price_min", "price_max", "in_stock"]) if (filters[name] !== undefined) query.set(name, filters[name]);
  for (const [name, values] of Object.entries(filters.attributes || {})) for (const value of values) query.append(`attributes.${name}`, value);
  return query;
}

async function parseReply(response) {
  let body = null;
  try { body = await response.json(); } catch { /* not JSON: the error page of a proxy */ }
  if (!response.ok) throw new Error(body?.error?.message || `HTTP ${response.status}`);
  return body;
}

async function search({ keepOffset = false } = {}) {
  if (!state.words && !state.image && !state.seed) return showWelcome();
  if (!keepOffset) state.offset = 0;
  saveToUrl();
  const turn = ++state.turn; // the reply of an older search is ignored
  busy(true);
  try {
    await released;
    if (turn !== state.turn) return;
    const startMs = performance.now();
    const [reply, others] = await Promise.all([send(searchBody()), otherValues()]);
    if (turn !== state.turn) return;
    state.reply = reply;
    state.facets = { ...reply.facets, ...others };
    state.currency = reply.hits.find((hit) => hit.price)?.price.currency || state.currency;
    showReply(Math.round(performance.now() - startMs));
  } catch (error) {
    if (turn === state.turn) showFailure(error);
  } finally {
    if (turn === state.turn) busy(false);
  }
}

// The other values of each filtered facet, counted without that filter.
async function otherValues() {
  const without = (name, ...keys) => {
    const filters = structuredClone(state.filters);
    for (const key of keys) delete filters[key];
    return [name, filters];
  };
  const facetFilters = [];
  if (state.filters.brands) facetFilters.push(without("brand", "brands"));
  if (state.filters.category) facetFilters.push(without("category", "category"));
  if (priceFiltered()) facetFilters.push(without("price", "price_min", "price_max"));
  if (state.filters.in_stock !== undefined) facetFilters.push(without("in_stock", "in_stock"));
  for (const name of Object.keys(state.filters.attributes || {})) {
    const filters = structuredClone(state.filters);
    delete filters.attributes[name];
    facetFilters.push([`attributes.${name}`, filters]);
  }
  const entries = await Promise.all(facetFilters.map(async ([name, filters]) => {
    const reply = await send(searchBody({ filters, facets: [name], offset: 0, limit: 1 }));
    return [name, reply.facets[name] || []];
  }));
  return Object.fromEntries(entries);
}

const priceFiltered = () => state.filters.price_min !== undefined || state.filters.price_max !== undefined;

// ---- rendering ----

function busy(on) {
  $("busy").hidden = !on;
  $("grid").setAttribute("aria-busy", on);
  $("grid").classList.toggle("waiting", on && Boolean(state.reply));
  if (on && !state.reply) {
    show("grid");
    $("grid").replaceChildren(...Array.from({ length: 12 }, () => element("li", { className: "card skeleton" },
      element("div", { className: "shot" }), element("div", { className: "words" }))));
  }
}

function show(...shown) {
  for (const id of ["welcome", "message", "grid"]) $(id).hidden = !shown.includes(id);
}

function showWelcome() {
  state.turn += 1;
  state.reply = null;
  saveToUrl();
  busy(false);
  show("welcome");
  for (const id of ["filters", "filters-open", "pages", "degraded"]) $(id).hidden = true;
  $("count").textContent = "";
  $("chips").replaceChildren();
  $("examples").replaceChildren(...t("examples").map((words) => element("button", {
    type: "button", textContent: words, onclick: () => { $("words").value = words; submit(); },
  })));
}

function showReply(tookMs) {
  const reply = state.reply;
  drawCount(tookMs);
  $("degraded").hidden = !reply.degraded.length;
  $("degraded").textContent = reply.degraded.length ? t("degraded", reply.degraded.join(" · ")) : "";
  drawChips();
  drawFacets();
  drawPages();
  if (!reply.hits.length) return showNone();
  show("grid");
  $("grid").replaceChildren(...reply.hits.map(card));
  if (state.offset || scrollY > 400) scrollTo({ top: 0 });
  observeImpressions();
}

function drawCount(tookMs) {
  const reply = state.reply;
  const [before, after] = t("count", reply.total).split(/<.*>/);
  const parts = [before, element("b", { textContent: number(reply.total) }), after];
  if (reply.reachable < reply.total) parts.push(` · ${t("reach", number(reply.reachable))}`);
  if (tookMs !== undefined) state.tookMs = tookMs;
  parts.push(` · ${t("took", number(state.tookMs))}`);
  $("count").replaceChildren(...parts);
}

function showNone() {
  show("message");
  const filtered = Object.keys(state.filters).length > 0;
  drawMessage(t("none"), t("none_how"), filtered ? t("clear_filters") : null, () => { state.filters = {}; search(); });
}

function showFailure(error) {
  state.reply = null;
  show("message");
  for (const id of ["pages", "degraded"]) $(id).hidden = true;
  $("count").textContent = "";
  drawMessage(t("failed"), error instanceof TypeError ? t("unreachable") : error.message, t("again"), () => search({ keepOffset: true }));
}

function drawMessage(title, text, action, onclick) {
  $("message-title").textContent = title;
  $("message-text").textContent = text;
  $("message-action").hidden = !action;
  $("message-action").textContent = action || "";
  $("message-action").onclick = onclick;
}

function card(hit) {
  const why = element("div", { className: "why", hidden: true, id: `why-${hit.position}` });
  const whyButton = element("button", { type: "button", className: "quiet", textContent: t("why"), "aria-expanded": "false", "aria-controls": why.id });
  const item = element("li", { className: "card", dataset: { product: hit.product_id, position: hit.position } },
    element("button", { type: "button", className: "open", onclick: () => openProduct(hit) },
      shot(hit.image, ""),
      element("div", { className: "words" },
        element("h3", { textContent: hit.title, title: hit.title }),
        element("p", { className: "by", textContent: hit.brand }),
        element("p", { className: "price", textContent: `${money(hit.price)} ` },
          hit.in_stock === false ? element("span", { className: "out", textContent: t("out") }) : null))),
    element("div", { className: "acts" }, whyButton,
      element("button", { type: "button", className: "quiet", textContent: t("similar"), onclick: () => searchSimilar(hit) })),
    why);
  whyButton.onclick = () => toggleWhy(hit, item, why, whyButton);
  return item;
}

function shot(url, alt) {
  const box = element("div", { className: "shot" });
  const none = () => box.replaceChildren(t("no_image"));
  if (url) box.append(element("img", { src: url, alt, loading: "lazy", decoding: "async", onerror: none }));
  else none();
  return box;
}

async function toggleWhy(hit, item, why, button) {
  const opening = why.hidden;
  why.hidden = !opening;
  item.classList.toggle("explained", opening);
  button.setAttribute("aria-expanded", opening);
  if (!opening) return;
  drawWhy(hit, why);
  if (hit.explanation.contributions || state.reply.explained) return;
  try {
    await explainPage();
    const explained = state.reply.hits.find((other) => other.product_id === hit.product_id);
    if (explained) drawWhy(explained, why);
  } catch (error) {
    why.append(element("p", { textContent: error.message }));
  }
}

// Contributions cost the ranker much more than the order, so they are requested on demand, once per page.
async function explainPage() {
  const reply = state.reply;
  reply.explaining ||= send(searchBody({ explain: true, facets: [], request_id: reply.request_id }));
  const explained = await reply.explaining;
  const byId = new Map(explained.hits.map((hit) => [hit.product_id, hit.explanation]));
  for (const hit of reply.hits) hit.explanation = byId.get(hit.product_id) || hit.explanation;
  reply.explained = true;
}

function drawWhy(hit, why) {
  const { retrievers, image_number: imageNumber, contributions, bias } = hit.explanation;
  const pills = Object.entries(retrievers).map(([name, rank]) => element("span", { className: `pill ${name}`,
    textContent: `${t(name) || name} #${rank}${["image", "aligned"].includes(name) && imageNumber !== null ? ` · ${t("image_position", imageNumber + 1)}` : ""}` }));
  why.replaceChildren(element("h4", { textContent: t("found_by") }), element("div", { className: "pills" }, ...pills));
  if (!contributions) {
    if (state.reply.explained) why.append(element("p", { textContent: t("fused_order") }));
    return;
  }
  const shares = Object.entries(contributions).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const shown = shares.slice(0, SHARES_SHOWN).filter(([, value]) => value !== 0);
  const rest = shares.slice(shown.length);
  const restSum = rest.reduce((sum, [, value]) => sum + value, 0);
  const largest = Math.max(...shown.map(([, value]) => Math.abs(value)), Math.abs(restSum), 1e-9);
  why.append(element("h4", { textContent: t("share") }), ...shown.map(([name, value]) => share(human(name), value, largest)));
  if (rest.length) why.append(share(t("rest", rest.length), restSum, largest));
  const features = shares.reduce((sum, [, value]) => sum + value, 0);
  why.append(element("p", { className: "sum", textContent: t("sum", decimal(bias || 0), decimal(features), decimal(hit.score)) }));
}

function share(name, value, largest) {
  const bar = element("i", { className: value < 0 ? "down" : "up" });
  bar.style.width = `${(Math.abs(value) / largest) * 50}%`;
  return element("div", { className: "share" }, element("span", { className: "name", textContent: name }),
    element("span", { className: "value", textContent: decimal(value) }), element("span", { className: "bar" }, bar));
}

function drawPages() {
  const { offset, reachable, total, hits } = state.reply;
  $("pages").hidden = reachable <= PAGE_SIZE;
  $("previous").disabled = offset === 0;
  $("next").disabled = offset + PAGE_SIZE >= reachable;
  $("where").textContent = t("where", offset + 1, offset + hits.length, number(Math.min(reachable, total)));
}

function drawChips() {
  const chips = [];
  const chip = (text, remove) => chips.push(element("li", {}, element("button", { type: "button", textContent: text, onclick: () => { remove(); search(); } })));
  const { filters } = state;
  if (state.seed) chip(`${t("seed")}: ${state.seed.title}`, () => { state.seed = null; });
  if (filters.category) chip(filters.category.join(" › "), () => { delete filters.category; });
  for (const brand of filters.brands || []) chip(brand, () => setBrand(brand, false));
  if (priceFiltered()) chip(priceText(filters.price_min, filters.price_max), () => { delete filters.price_min; delete filters.price_max; });
  if (filters.in_stock !== undefined) chip(t(filters.in_stock ? "yes" : "no"), () => { delete filters.in_stock; });
  for (const [name, values] of Object.entries(filters.attributes || {})) {
    for (const value of values) chip(`${human(name)}: ${value}`, () => setAttribute(name, value, false));
  }
  $("chips").replaceChildren(...chips);
}

function priceText(low, high) {
  const amount = (minor) => (minor === undefined ? "" : money({ minor_units: minor, currency: state.currency || "USD" }));
  return `${amount(low)} – ${amount(high)}`;
}

// ---- filters ----

function drawFacets() {
  const boxes = [];
  for (const name of Object.keys(state.facets)) {
    const values = state.facets[name];
    if (name === "price" ? values.length || priceFiltered() : values.length > 1 || chosen(name).length) boxes.push(facetBox(name, values));
  }
  const filtered = Object.keys(state.filters).length > 0;
  const opened = document.activeElement?.dataset?.facet;
  $("filters").hidden = $("filters-open").hidden = !boxes.length && !filtered;
  $("filters-clear").hidden = !filtered;
  $("facets").replaceChildren(...boxes);
  if (opened) $("facets").querySelector(`[data-facet="${CSS.escape(opened)}"]`)?.focus();
}

function chosen(name) {
  const { filters } = state;
  if (name === "brand") return filters.brands || [];
  if (name === "category") return filters.category ? [filters.category.join(" > ")] : [];
  if (name === "in_stock") return filters.in_stock === undefined ? [] : [String(filters.in_stock)];
  if (name === "price") return priceFiltered() ? [`${filters.price_min ?? ""}-${filters.price_max ?? ""}`] : [];
  return (filters.attributes || {})[name.replace(/^attributes\./, "")] || [];
}

function facetBox(name, values) {
  const title = TEXTS[state.language][name] || human(name);
  const picked = chosen(name);
  const all = [...values, ...picked.filter((value) => name !== "price" && !values.some((v) => v.value === value)).map((value) => ({ value, count: 0 }))];
  const shown = state.opened.has(name) ? all : all.filter(({ value }, index) => index < VALUES_SHOWN || picked.includes(value));
  const ordered = name === "category" ? shown.sort((a, b) => (a.value < b.value ? -1 : 1)) : shown;
  const rows = ordered.map(({ value, count }) => {
    const path = value.split(" > ");
    const text = name === "price" ? priceText(...value.split("-").map(Number)) : name === "in_stock" ? t(value === "true" ? "yes" : "no") : name === "category" ? path.at(-1) : value;
    const box = element("input", { type: "checkbox", checked: picked.includes(value), dataset: { facet: `${name}=${value}` },
      onchange: (event) => { choose(name, value, event.target.checked); search(); } });
    const row = element("label", {}, box, element("span", { textContent: text, title: value }), element("span", { className: "num", textContent: number(count) }));
    if (name === "category") { row.classList.add("deep"); row.style.setProperty("--depth", path.length - 1); }
    return row;
  });
  return element("fieldset", { className: "facet" }, element("legend", { textContent: title }), ...(name === "price" ? [priceBox()] : []), element("div", {}, ...rows),
    shown.length < all.length ? element("button", { type: "button", className: "quiet", textContent: t("more", all.length),
      onclick: () => { state.opened.add(name); drawFacets(); } }) : null);
}

function priceBox() {
  const scale = 10 ** digitsOf(state.currency || "USD");
  const field = (key, label) => element("input", { type: "number", min: 0, inputMode: "decimal", step: "any", placeholder: t(label), "aria-label": `${t("price")} ${t(label)}`,
    value: state.filters[key] === undefined ? "" : state.filters[key] / scale, dataset: { price: key } });
  const [low, high] = [field("price_min", "from"), field("price_max", "to")];
  const set = () => {
    for (const [key, input] of [["price_min", low], ["price_max", high]]) {
      if (input.value === "" || !(Number(input.value) >= 0)) delete state.filters[key];
      else state.filters[key] = Math.round(Number(input.value) * scale);
    }
    search();
  };
  for (const input of [low, high]) input.onkeydown = (event) => { if (event.key === "Enter") { event.preventDefault(); set(); } };
  return element("div", { className: "prices" }, low, "–", high, element("button", { type: "button", textContent: t("apply"), onclick: set }));
}

function choose(name, value, on) {
  const { filters } = state;
  if (name === "brand") setBrand(value, on);
  else if (name === "category") { if (on) filters.category = value.split(" > "); else delete filters.category; }
  else if (name === "in_stock") { if (on) filters.in_stock = value === "true"; else delete filters.in_stock; }
  else if (name === "price") {
    delete filters.price_min; delete filters.price_max;
    if (on) [filters.price_min, filters.price_max] = value.split("-").map(Number);
  } else setAttribute(name.replace(/^attributes\./, ""), value, on);
}

function setBrand(brand, on) {
  const brands = (state.filters.brands || []).filter((other) => other !== brand).concat(on ? [brand] : []);
  if (brands.length) state.filters.brands = brands; else delete state.filters.brands;
}

function setAttribute(name, value, on) {
  const attributes = state.filters.attributes || {};
  const values = (attributes[name] || []).filter((other) => other !== value).concat(on ? [value] : []);
  if (values.length) attributes[name] = values; else delete attributes[name];
  if (Object.keys(attributes).length) state.filters.attributes = attributes; else delete state.filters.attributes;
}

// ---- one product ----

async function openProduct(hit) {
  sendEvents("click", [hit]);
  const dialog = $("product");
  let product;
  try { product = await parseReply(await fetch(`/v1/products/${encodeURIComponent(hit.product_id)}`)); } catch (error) { return showFailure(error); }
  const main = element("div", {}, shot(hit.image || product.images[0], product.title));
  const thumbs = product.images.map((url) => element("button", { type: "button", "aria-pressed": String(url === (hit.image || product.images[0])),
    onclick: (event) => {
      main.firstChild.replaceWith(shot(url, product.title));
      for (const other of thumbs) other.setAttribute("aria-pressed", String(other === event.currentTarget));
    } }, element("img", { src: url, alt: "" })));
  if (thumbs.length > 1) main.append(element("div", { className: "thumbs" }, ...thumbs));
  const facts = Object.entries(product.attributes).flatMap(([name, values]) => [element("dt", { textContent: human(name) }), element("dd", { textContent: values.join(", ") })]);
  const about = element("div", {},
    element("h2", { id: "product-title", textContent: product.title }),
    element("p", { className: "path", textContent: [product.brand, product.category.join(" › ")].filter(Boolean).join(" · ") }),
    element("p", { className: "price", textContent: `${money(product.price)} ` }, product.in_stock === false ? element("span", { className: "out", textContent: t("out") }) : null),
    element("p", { className: "text", textContent: product.description }),
    element("dl", {}, ...facts),
    element("button", { type: "button", className: "go", textContent: t("similar"), onclick: () => { dialog.close(); searchSimilar(hit); } }));
  dialog.replaceChildren(element("button", { type: "button", className: "close", textContent: "×", "aria-label": t("close"), onclick: () => dialog.close() }),
    element("div", { className: "inside" }, main, about));
  dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
  if (!dialog.open) dialog.showModal();
}

function searchSimilar(hit) {
  setImage(null);
  $("words").value = state.words = "";
  Object.assign(state, { seed: { product_id: hit.product_id, title: hit.title }, filters: {} });
  search();
}

// ---- the query image ----

async function takeImage(file) {
  if (!file || !file.type.startsWith("image/")) return;
  try {
    setImage(await shrink(file));
    state.seed = null;
    submit();
  } catch { showFailure(new Error(t("unreadable"))); }
}

async function shrink(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, MAX_IMAGE_SIDE / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && file.size < 1_000_000) return file;
  const canvas = element("canvas", { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // transparent pixels become white, as in catalog images
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => { canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error())), "image/jpeg", 0.9); });
}

function setImage(blob) {
  if (state.image) URL.revokeObjectURL(state.image.url);
  state.image = blob ? { blob, url: URL.createObjectURL(blob) } : null;
  $("query-image").hidden = !blob;
  if (blob) $("image-preview").src = state.image.url;
  else $("image-preview").removeAttribute("src");
  $("image-preview").alt = blob ? t("your_image") : "";
  $("file").value = "";
}

// ---- impressions ----

const impressions = new IntersectionObserver((entries) => {
  const visible = entries.filter((entry) => entry.isIntersecting);
  for (const entry of visible) impressions.unobserve(entry.target);
  const hits = visible.map((entry) => state.reply?.hits.find((hit) => hit.product_id === entry.target.dataset.product)).filter(Boolean);
  if (hits.length) sendEvents("impression", hits);
}, { threshold: 0.5 });

function observeImpressions() {
  impressions.disconnect();
  for (const item of $("grid").children) impressions.observe(item);
}

function sendEvents(kind, hits) {
  const { request_id, release_id } = state.reply;
  const events = hits.map((hit) => ({ event_id: randomId(), request_id, release_id, kind, product_id: hit.product_id, position: hit.position,
    session_id: session, occurred_at: new Date().toISOString() }));
  fetch("/v1/events", { method: "POST", keepalive: true, headers: { "Content-Type": "application/json" }, body: JSON.stringify(events) }).catch(() => {});
}

// ---- URL, language, controls ----

function saveToUrl() {
  const parameters = new URLSearchParams();
  if (state.words) parameters.set("q", state.words);
  if (Object.keys(state.filters).length) parameters.set("filters", JSON.stringify(state.filters));
  if (state.offset) parameters.set("offset", state.offset);
  if (state.seed) parameters.set("similar", JSON.stringify(state.seed));
  const address = parameters.size ? `?${parameters}` : location.pathname;
  if (address !== (location.search || location.pathname)) history.pushState(null, "", address);
}

function restoreFromUrl() {
  const parameters = new URLSearchParams(location.search);
  const parsed = (name, fallback) => { try { return JSON.parse(parameters.get(name)) ?? fallback; } catch { return fallback; } };
  state.words = $("words").value = parameters.get("q") || "";
  state.filters = parsed("filters", {});
  state.seed = parsed("similar", null);
  state.offset = Math.max(0, Number.parseInt(parameters.get("offset"), 10) || 0);
  search({ keepOffset: true });
}

function submit() {
  state.words = $("words").value.trim();
  if (state.words || state.image) state.seed = null;
  state.filters = {};
  search();
}

function applyLanguage() {
  document.documentElement.lang = state.language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = t(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) { node.setAttribute("aria-label", t(node.dataset.label)); node.title = node.tagName === "ASIDE" ? "" : t(node.dataset.label); }
  for (const node of document.querySelectorAll("[data-placeholder]")) node.placeholder = t(node.dataset.placeholder);
  for (const node of document.querySelectorAll("[data-language]")) node.setAttribute("aria-pressed", String(node.dataset.language === state.language));
  if (state.release) $("footer").textContent = t("served", number(state.release.num_products), state.release.release_id);
}

function addListeners() {
  $("form").onsubmit = (event) => { event.preventDefault(); submit(); };
  $("home").onclick = (event) => { event.preventDefault(); setImage(null); $("words").value = ""; state.seed = null; submit(); };
  $("file").onchange = (event) => takeImage(event.target.files[0]);
  $("upload").onkeydown = (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); $("file").click(); } };
  $("image-remove").onclick = () => { setImage(null); submit(); };
  $("previous").onclick = () => { state.offset = Math.max(0, state.offset - PAGE_SIZE); search({ keepOffset: true }); };
  $("next").onclick = () => { state.offset += PAGE_SIZE; search({ keepOffset: true }); };
  $("filters-clear").onclick = () => { state.filters = {}; search(); };
  $("filters-open").onclick = () => $("filters").classList.add("open");
  $("filters-close").onclick = () => $("filters").classList.remove("open");
  for (const node of document.querySelectorAll("[data-language]")) {
    node.onclick = () => {
      state.language = node.dataset.language;
      localStorage.setItem("language", state.language);
      applyLanguage();
      if (state.reply) showReply(); else if (!$("welcome").hidden) showWelcome();
    };
  }
  document.onpaste = (event) => takeImage([...event.clipboardData.files][0]);
  document.ondragover = (event) => { event.preventDefault(); $("drop").hidden = ![...event.dataTransfer.types].includes("Files"); };
  document.ondragleave = (event) => { if (!event.relatedTarget) $("drop").hidden = true; };
  document.ondrop = (event) => { event.preventDefault(); $("drop").hidden = true; takeImage(event.dataTransfer.files[0]); };
  document.onkeydown = (event) => { if (event.key === "Escape") $("filters").classList.remove("open"); };
  window.onpopstate = restoreFromUrl;
}

async function loadRelease() {
  try {
    state.release = await parseReply(await fetch("/v1/release"));
    state.facetNames = state.release.facets.slice(0, MAX_FACETS);
    applyLanguage();
  } catch { /* the search itself reports the error */ }
}

applyLanguage();
addListeners();
const released = loadRelease(); // searches wait for it; typing does not
restoreFromUrl();

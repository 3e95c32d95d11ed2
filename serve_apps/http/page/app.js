// The page: asks POST /v1/search, draws what comes back, tells POST /v1/events what was seen and clicked. No library, no build step.
// Everything a shop or a shopper wrote is put on the page as text, never as HTML.
"use strict";

const TEXTS = {
  en: {
    skip: "Skip to results", words: "Search words", words_hint: "Search by words, picture, or both", add_picture: "Search with a picture",
    remove_picture: "Remove the picture", search: "Search", language: "Language", filters: "Filters", clear: "Clear all", done: "Show results",
    welcome: "Find it by words, by picture, or by both", drop: "Drop the picture to search with it", pages: "Pages",
    welcome_how: "Type in English or Chinese, drop or paste a picture, or say what should be different about it.",
    previous: "← Previous", next: "Next →", where: (from, to, total) => `${from}–${to} of ${total}`,
    count: (total) => `<${total}> ${total === 1 ? "match" : "matches"}`, took: (ms) => `${ms} ms`,
    reach: (reachable) => `the best ${reachable} can be paged through`,
    none: "Nothing matches", none_how: "Try fewer words, another picture, or take a filter away.", take_away: "Clear filters",
    failed: "That did not work", unreachable: "The server does not answer.", again: "Try again",
    degraded: (steps) => `Answered with less than usual: ${steps}`, why: "Why?", similar: "Similar", found_by: "Found by", picture_number: (n) => `picture ${n}`,
    bm25: "words", text: "meaning", image: "picture", aligned: "looks", seed: "Similar to", no_picture: "no picture", out: "out of stock", close: "Close",
    share: "What made the score", sum: (bias, features, score) => `start ${bias} + features ${features} = ${score}`, rest: (n) => `${n} other features`,
    fused_order: "The ranker was not asked: this is the fused order.", brand: "Brand", category: "Category", price: "Price", in_stock: "In stock",
    yes: "Available", no: "Out of stock", from: "from", to: "to", apply: "OK", more: (n) => `Show all ${n}`, too_large: "This picture cannot be read.",
    served: (n, release) => `${n} products · release ${release}`, your_picture: "your picture",
    examples: ["red cotton dress", "blue backpack", "wooden table lamp", "running shoes"],
  },
  zh: {
    skip: "跳到结果", words: "搜索词", words_hint: "用文字、图片或两者一起搜索", add_picture: "用图片搜索",
    remove_picture: "移除图片", search: "搜索", language: "语言", filters: "筛选", clear: "全部清除", done: "查看结果",
    welcome: "用文字、图片，或两者一起找到它", drop: "松开即可用这张图片搜索", pages: "分页",
    welcome_how: "输入中文或英文，拖入或粘贴一张图片，也可以再说说想要哪里不同。",
    previous: "← 上一页", next: "下一页 →", where: (from, to, total) => `第 ${from}–${to} 个，共 ${total} 个`,
    count: (total) => `<${total}> 个匹配商品`, took: (ms) => `${ms} 毫秒`,
    reach: (reachable) => `可翻阅最相关的 ${reachable} 个`,
    none: "没有匹配的商品", none_how: "试试更少的词、另一张图片，或去掉一个筛选条件。", take_away: "清除筛选",
    failed: "没有成功", unreachable: "服务器没有响应。", again: "再试一次",
    degraded: (steps) => `本次回答有所降级：${steps}`, why: "为什么？", similar: "相似商品", found_by: "由谁找到", picture_number: (n) => `第 ${n} 张图`,
    bm25: "词语", text: "语义", image: "图片", aligned: "外观", seed: "相似于", no_picture: "暂无图片", out: "缺货", close: "关闭",
    share: "得分从何而来", sum: (bias, features, score) => `起点 ${bias} + 特征 ${features} = ${score}`, rest: (n) => `其余 ${n} 个特征`,
    fused_order: "未经排序器：这是融合后的顺序。", brand: "品牌", category: "类目", price: "价格", in_stock: "库存",
    yes: "有货", no: "缺货", from: "最低", to: "最高", apply: "确定", more: (n) => `显示全部 ${n} 项`, too_large: "无法读取这张图片。",
    served: (n, release) => `${n} 个商品 · 版本 ${release}`, your_picture: "你的图片",
    examples: ["红色 棉 连衣裙", "蓝色双肩包", "木质 台灯", "运动鞋"],
  },
};
const PAGE_SIZE = 24;
const MAX_FACETS = 14;
const VALUES_SHOWN = 10;
const MAX_PICTURE_SIDE = 1024; // pixels; encoders look at far fewer
const SHARES_SHOWN = 7;

const $ = (id) => document.getElementById(id);
const state = {
  language: localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en"),
  words: "", picture: null, seed: null, filters: {}, offset: 0, reply: null, facets: {}, facetNames: [], release: null, asked: 0, currency: null,
  opened: new Set(), // facets of which all values are shown
};
const session = sessionStorage.getItem("session") || randomId();
sessionStorage.setItem("session", session);

// ---- small things ----

function t(key, ...values) {
  const text = TEXTS[state.language][key];
  return typeof text === "function" ? text(...values) : text;
}

function make(tag, properties = {}, ...children) {
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

// ---- asking ----

function request(changes = {}) {
  const asked = { filters: state.filters, offset: state.offset, limit: PAGE_SIZE, facets: state.facetNames, session_id: session, ...changes };
  if (state.words) asked.text = state.words;
  else if (!state.seed) asked.locale = state.language;
  return asked;
}

async function send(asked) {
  if (state.seed) return answer(await fetch(`/v1/similar/${encodeURIComponent(state.seed.product_id)}?${parameters(asked)}`));
  if (state.picture) {
    const form = new FormData();
    form.append("request", JSON.stringify(asked));
    form.append("image", state.picture.blob, "query.jpg");
    return answer(await fetch("/v1/search", { method: "POST", body: form }));
  }
  const headers = { "Content-Type": "application/json" };
  return answer(await fetch("/v1/search", { method: "POST", headers, body: JSON.stringify(asked) }));
}

function parameters(asked) {
  const found = new URLSearchParams({ offset: asked.offset, limit: asked.limit, session_id: session });
  if (asked.explain) found.set("explain", "true");
  if (asked.request_id) found.set("request_id", asked.request_id);
  for (const name of asked.facets) found.append("facets", name);
  const filters = asked.filters;
  for (const brand of filters.brands || []) found.append("brand", brand);
  for (const part of filters.category || []) found.append("category", part);
  for (const name of ["price_min", "price_max", "in_stock"]) if (filters[name] !== undefined) found.set(name, filters[name]);
  for (const [name, values] of Object.entries(filters.attributes || {})) for (const value of values) found.append(`attributes.${name}`, value);
  return found;
}

async function answer(response) {
  let body = null;
  try { body = await response.json(); } catch { /* not ours: a proxy's page */ }
  if (!response.ok) throw new Error(body?.error?.message || `HTTP ${response.status}`);
  return body;
}

async function search({ keepPlace = false } = {}) {
  if (!state.words && !state.picture && !state.seed) return showWelcome();
  if (!keepPlace) state.offset = 0;
  remember();
  const turn = ++state.asked; // an answer that was overtaken by a later question is dropped
  busy(true);
  try {
    await released;
    if (turn !== state.asked) return;
    const startMs = performance.now();
    const [reply, others] = await Promise.all([send(request()), otherValues()]);
    if (turn !== state.asked) return;
    state.reply = reply;
    state.facets = { ...reply.facets, ...others };
    state.currency = reply.hits.find((hit) => hit.price)?.price.currency || state.currency;
    showReply(Math.round(performance.now() - startMs));
  } catch (error) {
    if (turn === state.asked) showFailure(error);
  } finally {
    if (turn === state.asked) busy(false);
  }
}

// The other values of a facet that is filtered: what one would find with them instead.
async function otherValues() {
  const without = (name, ...keys) => {
    const filters = structuredClone(state.filters);
    for (const key of keys) delete filters[key];
    return [name, filters];
  };
  const asked = [];
  if (state.filters.brands) asked.push(without("brand", "brands"));
  if (state.filters.category) asked.push(without("category", "category"));
  if (priceFiltered()) asked.push(without("price", "price_min", "price_max"));
  if (state.filters.in_stock !== undefined) asked.push(without("in_stock", "in_stock"));
  for (const name of Object.keys(state.filters.attributes || {})) {
    const filters = structuredClone(state.filters);
    delete filters.attributes[name];
    asked.push([`attributes.${name}`, filters]);
  }
  const found = await Promise.all(asked.map(async ([name, filters]) => {
    const reply = await send(request({ filters, facets: [name], offset: 0, limit: 1 }));
    return [name, reply.facets[name] || []];
  }));
  return Object.fromEntries(found);
}

const priceFiltered = () => state.filters.price_min !== undefined || state.filters.price_max !== undefined;

// ---- drawing ----

function busy(on) {
  $("busy").hidden = !on;
  $("grid").setAttribute("aria-busy", on);
  $("grid").classList.toggle("waiting", on && Boolean(state.reply));
  if (on && !state.reply) {
    show("grid");
    $("grid").replaceChildren(...Array.from({ length: 12 }, () => make("li", { className: "card skeleton" },
      make("div", { className: "shot" }), make("div", { className: "words" }))));
  }
}

function show(...shown) {
  for (const id of ["welcome", "message", "grid"]) $(id).hidden = !shown.includes(id);
}

function showWelcome() {
  state.asked += 1;
  state.reply = null;
  remember();
  busy(false);
  show("welcome");
  for (const id of ["filters", "filters-open", "pages", "degraded"]) $(id).hidden = true;
  $("count").textContent = "";
  $("chips").replaceChildren();
  $("examples").replaceChildren(...t("examples").map((words) => make("button", {
    type: "button", textContent: words, onclick: () => { $("words").value = words; ask(); },
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
  watchSeen();
}

function drawCount(tookMs) {
  const reply = state.reply;
  const [before, after] = t("count", reply.total).split(/<.*>/);
  const parts = [before, make("b", { textContent: number(reply.total) }), after];
  if (reply.reachable < reply.total) parts.push(` · ${t("reach", number(reply.reachable))}`);
  if (tookMs !== undefined) state.tookMs = tookMs;
  parts.push(` · ${t("took", number(state.tookMs))}`);
  $("count").replaceChildren(...parts);
}

function showNone() {
  show("message");
  const filtered = Object.keys(state.filters).length > 0;
  drawMessage(t("none"), t("none_how"), filtered ? t("take_away") : null, () => { state.filters = {}; search(); });
}

function showFailure(error) {
  state.reply = null;
  show("message");
  for (const id of ["pages", "degraded"]) $(id).hidden = true;
  $("count").textContent = "";
  drawMessage(t("failed"), error instanceof TypeError ? t("unreachable") : error.message, t("again"), () => search({ keepPlace: true }));
}

function drawMessage(title, text, action, onclick) {
  $("message-title").textContent = title;
  $("message-text").textContent = text;
  $("message-action").hidden = !action;
  $("message-action").textContent = action || "";
  $("message-action").onclick = onclick;
}

function card(hit) {
  const why = make("div", { className: "why", hidden: true, id: `why-${hit.position}` });
  const whyButton = make("button", { type: "button", className: "quiet", textContent: t("why"), "aria-expanded": "false", "aria-controls": why.id });
  const item = make("li", { className: "card", dataset: { product: hit.product_id, position: hit.position } },
    make("button", { type: "button", className: "open", onclick: () => openProduct(hit) },
      shot(hit.image, ""),
      make("div", { className: "words" },
        make("h3", { textContent: hit.title, title: hit.title }),
        make("p", { className: "by", textContent: hit.brand }),
        make("p", { className: "price", textContent: `${money(hit.price)} ` },
          hit.in_stock === false ? make("span", { className: "out", textContent: t("out") }) : null))),
    make("div", { className: "acts" }, whyButton,
      make("button", { type: "button", className: "quiet", textContent: t("similar"), onclick: () => searchSimilar(hit) })),
    why);
  whyButton.onclick = () => toggleWhy(hit, item, why, whyButton);
  return item;
}

function shot(url, alt) {
  const box = make("div", { className: "shot" });
  const none = () => box.replaceChildren(t("no_picture"));
  if (url) box.append(make("img", { src: url, alt, loading: "lazy", decoding: "async", onerror: none }));
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
    why.append(make("p", { textContent: error.message }));
  }
}

// The shares cost the ranker much more than the order, so they are asked for when somebody wants to know, once for the page.
async function explainPage() {
  const reply = state.reply;
  reply.asking ||= send(request({ explain: true, facets: [], request_id: reply.request_id }));
  const explained = await reply.asking;
  const byId = new Map(explained.hits.map((hit) => [hit.product_id, hit.explanation]));
  for (const hit of reply.hits) hit.explanation = byId.get(hit.product_id) || hit.explanation;
  reply.explained = true;
}

function drawWhy(hit, why) {
  const { retrievers, image_number: picture, contributions, bias } = hit.explanation;
  const pills = Object.entries(retrievers).map(([name, rank]) => make("span", { className: `pill ${name}`,
    textContent: `${t(name) || name} #${rank}${["image", "aligned"].includes(name) && picture !== null ? ` · ${t("picture_number", picture + 1)}` : ""}` }));
  why.replaceChildren(make("h4", { textContent: t("found_by") }), make("div", { className: "pills" }, ...pills));
  if (!contributions) {
    if (state.reply.explained) why.append(make("p", { textContent: t("fused_order") }));
    return;
  }
  const shares = Object.entries(contributions).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const shown = shares.slice(0, SHARES_SHOWN).filter(([, value]) => value !== 0);
  const rest = shares.slice(shown.length);
  const restSum = rest.reduce((sum, [, value]) => sum + value, 0);
  const largest = Math.max(...shown.map(([, value]) => Math.abs(value)), Math.abs(restSum), 1e-9);
  why.append(make("h4", { textContent: t("share") }), ...shown.map(([name, value]) => share(human(name), value, largest)));
  if (rest.length) why.append(share(t("rest", rest.length), restSum, largest));
  const features = shares.reduce((sum, [, value]) => sum + value, 0);
  why.append(make("p", { className: "sum", textContent: t("sum", decimal(bias || 0), decimal(features), decimal(hit.score)) }));
}

function share(name, value, largest) {
  const bar = make("i", { className: value < 0 ? "down" : "up" });
  bar.style.width = `${(Math.abs(value) / largest) * 50}%`;
  return make("div", { className: "share" }, make("span", { className: "name", textContent: name }),
    make("span", { className: "value", textContent: decimal(value) }), make("span", { className: "bar" }, bar));
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
  const chip = (text, remove) => chips.push(make("li", {}, make("button", { type: "button", textContent: text, onclick: () => { remove(); search(); } })));
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
  const shown = state.opened.has(name) ? all : all.filter(({ value }, place) => place < VALUES_SHOWN || picked.includes(value));
  const ordered = name === "category" ? shown.sort((a, b) => (a.value < b.value ? -1 : 1)) : shown;
  const rows = ordered.map(({ value, count }) => {
    const path = value.split(" > ");
    const text = name === "price" ? priceText(...value.split("-").map(Number)) : name === "in_stock" ? t(value === "true" ? "yes" : "no") : name === "category" ? path.at(-1) : value;
    const box = make("input", { type: "checkbox", checked: picked.includes(value), dataset: { facet: `${name}=${value}` },
      onchange: (event) => { choose(name, value, event.target.checked); search(); } });
    const row = make("label", {}, box, make("span", { textContent: text, title: value }), make("span", { className: "num", textContent: number(count) }));
    if (name === "category") { row.classList.add("deep"); row.style.setProperty("--depth", path.length - 1); }
    return row;
  });
  return make("fieldset", { className: "facet" }, make("legend", { textContent: title }), ...(name === "price" ? [priceBox()] : []), make("div", {}, ...rows),
    shown.length < all.length ? make("button", { type: "button", className: "quiet", textContent: t("more", all.length),
      onclick: () => { state.opened.add(name); drawFacets(); } }) : null);
}

function priceBox() {
  const scale = 10 ** digitsOf(state.currency || "USD");
  const field = (key, label) => make("input", { type: "number", min: 0, inputMode: "decimal", step: "any", placeholder: t(label), "aria-label": `${t("price")} ${t(label)}`,
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
  return make("div", { className: "prices" }, low, "–", high, make("button", { type: "button", textContent: t("apply"), onclick: set }));
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
  tell("click", [hit]);
  const dialog = $("product");
  let product;
  try { product = await answer(await fetch(`/v1/products/${encodeURIComponent(hit.product_id)}`)); } catch (error) { return showFailure(error); }
  const main = make("div", {}, shot(hit.image || product.images[0], product.title));
  const thumbs = product.images.map((url) => make("button", { type: "button", "aria-pressed": String(url === (hit.image || product.images[0])),
    onclick: (event) => {
      main.firstChild.replaceWith(shot(url, product.title));
      for (const other of thumbs) other.setAttribute("aria-pressed", String(other === event.currentTarget));
    } }, make("img", { src: url, alt: "" })));
  if (thumbs.length > 1) main.append(make("div", { className: "thumbs" }, ...thumbs));
  const facts = Object.entries(product.attributes).flatMap(([name, values]) => [make("dt", { textContent: human(name) }), make("dd", { textContent: values.join(", ") })]);
  const about = make("div", {},
    make("h2", { id: "product-title", textContent: product.title }),
    make("p", { className: "path", textContent: [product.brand, product.category.join(" › ")].filter(Boolean).join(" · ") }),
    make("p", { className: "price", textContent: `${money(product.price)} ` }, product.in_stock === false ? make("span", { className: "out", textContent: t("out") }) : null),
    make("p", { className: "text", textContent: product.description }),
    make("dl", {}, ...facts),
    make("button", { type: "button", className: "go", textContent: t("similar"), onclick: () => { dialog.close(); searchSimilar(hit); } }));
  dialog.replaceChildren(make("button", { type: "button", className: "close", textContent: "×", "aria-label": t("close"), onclick: () => dialog.close() }),
    make("div", { className: "inside" }, main, about));
  dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
  if (!dialog.open) dialog.showModal();
}

function searchSimilar(hit) {
  setPicture(null);
  $("words").value = state.words = "";
  Object.assign(state, { seed: { product_id: hit.product_id, title: hit.title }, filters: {} });
  search();
}

// ---- the picture ----

async function takePicture(file) {
  if (!file || !file.type.startsWith("image/")) return;
  try {
    setPicture(await shrunk(file));
    state.seed = null;
    ask();
  } catch { showFailure(new Error(t("too_large"))); }
}

async function shrunk(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, MAX_PICTURE_SIDE / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && file.size < 1_000_000) return file;
  const canvas = make("canvas", { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // transparency is laid on white, as the catalog's pictures are
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => { canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error())), "image/jpeg", 0.9); });
}

function setPicture(blob) {
  if (state.picture) URL.revokeObjectURL(state.picture.url);
  state.picture = blob ? { blob, url: URL.createObjectURL(blob) } : null;
  $("picture").hidden = !blob;
  if (blob) $("picture-preview").src = state.picture.url;
  else $("picture-preview").removeAttribute("src");
  $("picture-preview").alt = blob ? t("your_picture") : "";
  $("file").value = "";
}

// ---- what was seen ----

const seen = new IntersectionObserver((entries) => {
  const now = entries.filter((entry) => entry.isIntersecting);
  for (const entry of now) seen.unobserve(entry.target);
  const hits = now.map((entry) => state.reply?.hits.find((hit) => hit.product_id === entry.target.dataset.product)).filter(Boolean);
  if (hits.length) tell("impression", hits);
}, { threshold: 0.5 });

function watchSeen() {
  seen.disconnect();
  for (const item of $("grid").children) seen.observe(item);
}

function tell(kind, hits) {
  const { request_id, release_id } = state.reply;
  const events = hits.map((hit) => ({ event_id: randomId(), request_id, release_id, kind, product_id: hit.product_id, position: hit.position,
    session_id: session, occurred_at: new Date().toISOString() }));
  fetch("/v1/events", { method: "POST", keepalive: true, headers: { "Content-Type": "application/json" }, body: JSON.stringify(events) }).catch(() => {});
}

// ---- the address, the language, the controls ----

function remember() {
  const found = new URLSearchParams();
  if (state.words) found.set("q", state.words);
  if (Object.keys(state.filters).length) found.set("filters", JSON.stringify(state.filters));
  if (state.offset) found.set("offset", state.offset);
  if (state.seed) found.set("similar", JSON.stringify(state.seed));
  const address = found.size ? `?${found}` : location.pathname;
  if (address !== (location.search || location.pathname)) history.pushState(null, "", address);
}

function recall() {
  const found = new URLSearchParams(location.search);
  const parsed = (name, otherwise) => { try { return JSON.parse(found.get(name)) ?? otherwise; } catch { return otherwise; } };
  state.words = $("words").value = found.get("q") || "";
  state.filters = parsed("filters", {});
  state.seed = parsed("similar", null);
  state.offset = Math.max(0, Number.parseInt(found.get("offset"), 10) || 0);
  search({ keepPlace: true });
}

function ask() {
  state.words = $("words").value.trim();
  if (state.words || state.picture) state.seed = null;
  state.filters = {};
  search();
}

function speak() {
  document.documentElement.lang = state.language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = t(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) { node.setAttribute("aria-label", t(node.dataset.label)); node.title = node.tagName === "ASIDE" ? "" : t(node.dataset.label); }
  for (const node of document.querySelectorAll("[data-placeholder]")) node.placeholder = t(node.dataset.placeholder);
  for (const node of document.querySelectorAll("[data-language]")) node.setAttribute("aria-pressed", String(node.dataset.language === state.language));
  if (state.release) $("footer").textContent = t("served", number(state.release.num_products), state.release.release_id);
}

function listen() {
  $("form").onsubmit = (event) => { event.preventDefault(); ask(); };
  $("home").onclick = (event) => { event.preventDefault(); setPicture(null); $("words").value = ""; state.seed = null; ask(); };
  $("file").onchange = (event) => takePicture(event.target.files[0]);
  $("upload").onkeydown = (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); $("file").click(); } };
  $("picture-remove").onclick = () => { setPicture(null); ask(); };
  $("previous").onclick = () => { state.offset = Math.max(0, state.offset - PAGE_SIZE); search({ keepPlace: true }); };
  $("next").onclick = () => { state.offset += PAGE_SIZE; search({ keepPlace: true }); };
  $("filters-clear").onclick = () => { state.filters = {}; search(); };
  $("filters-open").onclick = () => $("filters").classList.add("open");
  $("filters-close").onclick = () => $("filters").classList.remove("open");
  for (const node of document.querySelectorAll("[data-language]")) {
    node.onclick = () => {
      state.language = node.dataset.language;
      localStorage.setItem("language", state.language);
      speak();
      if (state.reply) showReply(); else if (!$("welcome").hidden) showWelcome();
    };
  }
  document.onpaste = (event) => takePicture([...event.clipboardData.files][0]);
  document.ondragover = (event) => { event.preventDefault(); $("drop").hidden = ![...event.dataTransfer.types].includes("Files"); };
  document.ondragleave = (event) => { if (!event.relatedTarget) $("drop").hidden = true; };
  document.ondrop = (event) => { event.preventDefault(); $("drop").hidden = true; takePicture(event.dataTransfer.files[0]); };
  document.onkeydown = (event) => { if (event.key === "Escape") $("filters").classList.remove("open"); };
  window.onpopstate = recall;
}

async function learnRelease() {
  try {
    state.release = await answer(await fetch("/v1/release"));
    state.facetNames = state.release.facets.slice(0, MAX_FACETS);
    speak();
  } catch { /* the search itself will say what is wrong */ }
}

speak();
listen();
const released = learnRelease(); // a question waits for it, whoever types does not
recall();

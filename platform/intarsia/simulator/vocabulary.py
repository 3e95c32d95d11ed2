"""English and Chinese words of the attributes, and text helpers. Categories: see `assortment.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from intarsia.simulator.random_streams import choose

Language = Literal["zh", "en"]


@dataclass(frozen=True, slots=True)
class Value:
    """One value of an attribute: its key in the truth, its words per language (the usual word first), its frequency."""

    key: str
    en: tuple[str, ...]
    zh: tuple[str, ...]
    weight: float = 1.0

    def words(self, locale: Language) -> tuple[str, ...]:
        """The words in one language."""
        return self.en if locale == "en" else self.zh


COLOURS: tuple[Value, ...] = (
    Value("black", ("black", "jet black"), ("黑色", "墨黑"), 1.6),
    Value("white", ("white", "ivory"), ("白色", "米白"), 1.4),
    Value("grey", ("grey", "gray", "charcoal"), ("灰色", "深灰", "浅灰"), 1.0),
    Value("red", ("red", "crimson", "scarlet"), ("红色", "大红", "酒红"), 1.2),
    Value("orange", ("orange", "tangerine"), ("橙色", "橘色"), 0.6),
    Value("yellow", ("yellow", "mustard"), ("黄色", "姜黄", "鹅黄"), 0.8),
    Value("green", ("green", "olive", "emerald"), ("绿色", "墨绿", "军绿"), 1.0),
    Value("blue", ("blue", "navy", "cobalt"), ("蓝色", "藏青", "天蓝"), 1.4),
    Value("purple", ("purple", "violet", "lilac"), ("紫色", "薰衣草紫"), 0.6),
    Value("pink", ("pink", "blush pink"), ("粉色", "粉红"), 0.9),
    Value("brown", ("brown", "chocolate", "tan"), ("棕色", "咖啡色", "褐色"), 0.9),
    Value("beige", ("beige", "khaki", "sand"), ("米色", "卡其色"), 0.6),
)
COLOUR_RGB: dict[str, tuple[int, int, int]] = {
    "black": (28, 28, 32),
    "white": (240, 240, 236),
    "grey": (132, 134, 138),
    "red": (204, 28, 40),
    "orange": (244, 126, 22),
    "yellow": (240, 204, 40),
    "green": (40, 140, 66),
    "blue": (34, 74, 178),
    "purple": (122, 52, 160),
    "pink": (242, 140, 182),
    "brown": (116, 70, 38),
    "beige": (214, 190, 150),
}

PATTERNS: tuple[Value, ...] = (
    Value("plain", ("plain", "solid colour"), ("纯色", "素面"), 3.0),
    Value("striped", ("striped", "stripes"), ("条纹", "横条"), 1.3),
    Value("dotted", ("polka dot", "dotted"), ("波点", "圆点"), 1.0),
    Value("checked", ("checked", "plaid", "chequered"), ("格子", "格纹"), 1.2),
    Value("zigzag", ("zigzag", "chevron"), ("锯齿纹", "人字纹"), 0.8),
    Value("floral", ("floral", "flower print"), ("碎花", "印花"), 1.0),
)

MATERIALS: tuple[Value, ...] = (
    Value("cotton", ("cotton", "pure cotton"), ("纯棉", "棉质")),
    Value("linen", ("linen", "flax"), ("亚麻", "棉麻")),
    Value("wool", ("wool", "lambswool"), ("羊毛", "毛呢")),
    Value("silk", ("silk", "mulberry silk"), ("真丝", "桑蚕丝")),
    Value("denim", ("denim", "jean fabric"), ("牛仔布", "丹宁")),
    Value("leather", ("leather", "genuine leather", "cowhide"), ("真皮", "牛皮", "皮革")),
    Value("canvas", ("canvas", "sailcloth"), ("帆布",)),
    Value("polyester", ("polyester", "microfibre"), ("涤纶", "聚酯纤维")),
    Value("nylon", ("nylon",), ("尼龙", "锦纶")),
    Value("rubber", ("rubber", "natural rubber"), ("橡胶", "天然橡胶")),
    Value("silicone", ("silicone", "soft silicone"), ("硅胶", "液态硅胶")),
    Value("plastic", ("plastic", "ABS plastic"), ("塑料", "ABS树脂")),
    Value("ceramic", ("ceramic", "stoneware"), ("陶瓷", "瓷质")),
    Value("glass", ("glass", "crystal glass"), ("玻璃", "水晶玻璃")),
    Value("steel", ("stainless steel", "steel", "metal"), ("不锈钢", "金属")),
    Value("wood", ("wood", "solid wood", "beech"), ("实木", "木质")),
    Value("bamboo", ("bamboo",), ("竹制", "竹子")),
    Value("velvet", ("velvet", "plush"), ("天鹅绒", "毛绒")),
)

STYLES: tuple[Value, ...] = (
    Value("casual", ("casual", "everyday"), ("休闲", "日常"), 1.5),
    Value("formal", ("formal", "business"), ("商务", "正式")),
    Value("vintage", ("vintage", "retro"), ("复古", "怀旧")),
    Value("sporty", ("sporty", "athletic"), ("运动风", "动感")),
    Value("minimalist", ("minimalist", "simple"), ("简约", "极简"), 1.2),
    Value("cute", ("cute", "sweet"), ("可爱", "甜美"), 0.8),
)

EVERYONE = "everyone"
AUDIENCES: tuple[Value, ...] = (
    Value("women", ("women", "ladies"), ("女士", "女款"), 1.2),
    Value("men", ("men", "gents"), ("男士", "男款"), 1.0),
    Value("kids", ("kids", "children"), ("儿童", "小孩"), 0.5),
    Value("unisex", ("unisex",), ("中性", "男女同款"), 0.4),
    Value(EVERYONE, ("everyone",), ("通用",)),
)
"""`everyone` is the audience of products without one (a vase); no listing and no query names it."""

_ZH_BRANDS = (
    "Suhe 素禾|Yunqi 云栖|Qingyu 青屿|Mubai 木柏|Shiguang 拾光|Nangu 南谷|Luming 鹿鸣|Beian 北岸|Zhaolu 朝露|Shanyin 山隐|"
    "Zhixia 知夏|Manye 漫野|Yuchu 予初|Fusheng 浮声|Lile 栗乐|Jianwu 简物|Chengyi 澄一|Lanfeng 岚风|Xiyu 喜屿|Xingge 星阁"
)
_EN_BRANDS = (
    "Northfell 诺斐|Harrow & Pine 哈罗派|Calderby 卡德比|Brightlane 明径|Wrenfield 雷恩|Tamsin 塔姆辛|Oakhurst 橡丘|Lumora 露墨|"
    "Kestrelle 凯丝特|Fjordal 峡岸|Marlowe 马洛|Pebble Row 石径|Ardent & Co 雅登特|Quillon 奎伦|Saltmarsh 盐泽|Juniper Bay 杜松湾|"
    "Coppice 林萌|Haldenby 哈登|Ember & Oak 烬橡|Rookery 鸦舍"
)


def _brands(text: str) -> tuple[Value, ...]:
    names = [entry.rsplit(" ", 1) for entry in text.split("|")]
    return tuple(Value(en.lower().replace(" & ", "_").replace(" ", "_"), (en,), (zh,)) for en, zh in names)


BRANDS: tuple[Value, ...] = _brands(_EN_BRANDS) + _brands(_ZH_BRANDS)
NUM_EN_BRANDS = _EN_BRANDS.count("|") + 1
"""The first NUM_EN_BRANDS of BRANDS mostly occur in the English half of the shop, the others in the Chinese half."""

ATTRIBUTES: dict[str, tuple[Value, ...]] = {
    "brand": BRANDS,
    "colour": COLOURS,
    "pattern": PATTERNS,
    "material": MATERIALS,
    "style": STYLES,
    "audience": AUDIENCES,
}
"""All attributes but the category, in the order of the truth file."""
ATTRIBUTE_INDEX: dict[str, dict[str, int]] = {
    name: {value.key: number for number, value in enumerate(values)} for name, values in ATTRIBUTES.items()
}

TYPO_ZH = str.maketrans("裙鞋包帽灯杯机仔衫伞锅壶", "群协苞冒登怀几子杉散祸糊")
"""Typing errors of Chinese input methods: characters of the same or a similar sound."""

_SIMPLIFIED = (
    "与丝两乐书云亚亲伙伞伦体侧儿内军凉几凯务动匀协单卖卫厨双发变叠台吗唇围圆坠垫声壳壶复头夹妆宁实层属屿"
    "岚峡带床开弹录径怀态户护换数断无旧时显机条极树栖横气没泽浅涤温游湾滤滩灯炉点烬热爱现电皱盐码祸稳简类"
    "红纤约纯纳纶纹纺线绒绕维绿缝网罗群肤胶脑脚脱蓝蚕衬装裤计记设诺读调货质车轮软轻边运这连适选邮采里钢链"
    "锁锅锈锦键锯长门闲阁阳隐静领颜风饰马鸣鸦鸭鹅麦黄齿龙"
)
_TRADITIONAL = (
    "與絲兩樂書雲亞親夥傘倫體側兒內軍涼幾凱務動勻協單賣衛廚雙發變疊臺嗎脣圍圓墜墊聲殼壺復頭夾妝寧實層屬嶼"
    "嵐峽帶牀開彈錄徑懷態戶護換數斷無舊時顯機條極樹棲橫氣沒澤淺滌溫遊灣濾灘燈爐點燼熱愛現電皺鹽碼禍穩簡類"
    "紅纖約純納綸紋紡線絨繞維綠縫網羅羣膚膠腦腳脫藍蠶襯裝褲計記設諾讀調貨質車輪軟輕邊運這連適選郵採裏鋼鏈"
    "鎖鍋鏽錦鍵鋸長門閒閣陽隱靜領顏風飾馬鳴鴉鴨鵝麥黃齒龍"
)
_TABLE = str.maketrans(_SIMPLIFIED, _TRADITIONAL)


def to_traditional(text: str) -> str:
    """Convert simplified to traditional characters; covers the characters of this market only."""
    return text.translate(_TABLE)


def synonym(rng: np.random.Generator, words: Sequence[str], share_first: float = 0.6) -> str:
    """Draw the first (usual) word with probability `share_first`, else one of its synonyms."""
    return words[0] if len(words) == 1 or rng.random() < share_first else choose(rng, words[1:])


def possessive(noun: str) -> str:
    """The English possessive.

    >>> possessive("women"), possessive("kids")
    ("women's", "kids'")
    """
    return f"{noun}'" if noun.endswith("s") else f"{noun}'s"

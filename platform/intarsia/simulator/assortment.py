"""The category tree of the market: names, words, materials, price and share of every leaf.

Outlines: see `shapes.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from intarsia.simulator.vocabulary import EVERYONE, Language

_WEAR = ("women", "men", "kids", "unisex")
_LADIES = ("women", "kids")
_ADULTS = ("women", "men", "unisex")
_NOBODY = (EVERYONE,)

NODE_NAMES: dict[str, tuple[str, str]] = {
    "apparel": ("Apparel", "服装"),
    "tops": ("Tops", "上装"),
    "bottoms": ("Bottoms", "下装"),
    "outerwear": ("Dresses & Outerwear", "裙装外套"),
    "shoes": ("Shoes", "鞋靴"),
    "bags": ("Bags & Luggage", "箱包"),
    "accessories": ("Accessories", "配饰"),
    "home": ("Home", "家居"),
    "textiles": ("Soft Furnishings", "家纺"),
    "decor": ("Decor & Lighting", "装饰灯具"),
    "kitchen": ("Kitchen", "厨房用品"),
    "electronics": ("Electronics", "数码电子"),
    "toys": ("Toys", "玩具"),
    "beauty": ("Beauty", "美妆"),
    "sports": ("Sports", "运动户外"),
}
"""Inner node of the tree -> its English and Chinese name."""


@dataclass(frozen=True, slots=True)
class Category:
    """A leaf of the category tree.

    Attributes:
        key: key in the truth.
        parents: keys of the nodes from the root to the parent.
        en: English names, the usual one first.
        zh: Chinese names, the usual one first.
        materials: keys of the materials its products can have.
        audiences: keys of the audiences its products can have.
        price_usd: median price.
        use_en: English sentence in the description of every product.
        use_zh: Chinese sentence in the description of every product.
        weight: share of the catalog before normalisation.
    """

    key: str
    parents: tuple[str, ...]
    en: tuple[str, ...]
    zh: tuple[str, ...]
    materials: tuple[str, ...]
    audiences: tuple[str, ...]
    price_usd: float
    use_en: str
    use_zh: str
    weight: float = 1.0

    def words(self, locale: Language) -> tuple[str, ...]:
        """The names in one language, the usual one first."""
        return self.en if locale == "en" else self.zh

    def path(self, locale: Language) -> tuple[str, ...]:
        """The names from the root to this leaf in one language."""
        number = 0 if locale == "en" else 1
        leaf = self.en[0].capitalize() if locale == "en" else self.zh[0]
        return (*(NODE_NAMES[parent][number] for parent in self.parents), leaf)

    @property
    def code(self) -> str:
        """The path of keys, equal in both languages: apparel/tops/t_shirt."""
        return "/".join((*self.parents, self.key))


def _leaf(
    key: str,
    parents: str,
    en: str,
    zh: str,
    materials: str,
    audiences: tuple[str, ...],
    price_usd: float,
    use: tuple[str, str],
    weight: float = 1.0,
) -> Category:
    return Category(
        key, tuple(parents.split("/")), tuple(en.split("|")), tuple(zh.split("|")), tuple(materials.split()), audiences,
        price_usd, *use, weight,
    )  # fmt: skip


# fmt: off
CATEGORIES: tuple[Category, ...] = (
    _leaf("t_shirt", "apparel/tops", "t-shirt|tee|crew neck top", "T恤|短袖|体恤衫", "cotton linen polyester", _WEAR, 18,
          ("Soft on the skin and easy to wash.", "亲肤柔软，机洗不变形。"), 1.5),
    _leaf("shirt", "apparel/tops", "shirt|button-down|blouse", "衬衫|衬衣", "cotton linen silk polyester", _WEAR, 32,
          ("The collar keeps its form all day.", "领口挺括，久穿不皱。"), 1.2),
    _leaf("hoodie", "apparel/tops", "hoodie|hooded sweatshirt|pullover", "连帽卫衣|卫衣|帽衫",
          "cotton polyester wool", _WEAR, 39,
          ("Warm inside, with a roomy front pocket.", "内里保暖，前袋实用。"), 1.2),
    _leaf("trousers", "apparel/bottoms", "trousers|pants|slacks", "长裤|裤子|直筒裤",
          "denim cotton linen wool polyester", _WEAR, 42,
          ("A straight leg that goes to work and out.", "直筒版型，上班出门都合适。"), 1.3),
    _leaf("skirt", "apparel/bottoms", "skirt|midi skirt", "半身裙|短裙",
          "denim cotton silk polyester leather", _LADIES, 34,
          ("Falls to the knee and moves with you.", "垂坠到膝，行走自如。"), 0.8),
    _leaf("dress", "apparel/outerwear", "dress|frock|gown", "连衣裙|长裙|裙子",
          "cotton silk linen polyester velvet", _LADIES, 48,
          ("A flattering waist and hidden side pockets.", "收腰显瘦，侧缝暗袋。"), 1.4),
    _leaf("jacket", "apparel/outerwear", "jacket|coat", "夹克|外套|上衣外搭", "leather denim nylon wool polyester", _WEAR, 79,
          ("Keeps the wind out and the warmth in.", "防风锁温，层次搭配。"), 1.1),
    _leaf("sneakers", "shoes", "sneakers|trainers|running shoes", "运动鞋|跑鞋|球鞋",
          "leather canvas polyester rubber", _WEAR, 62,
          ("The sole springs back at every step.", "鞋底回弹，步步轻松。"), 1.4),
    _leaf("boots", "shoes", "boots|ankle boots", "靴子|短靴|马丁靴", "leather rubber canvas velvet", _WEAR, 88,
          ("A firm heel for rain and rough ground.", "鞋跟稳固，雨天山路都能走。"), 0.9),
    _leaf("sandals", "shoes", "sandals|flip-flops|slides", "凉鞋|沙滩鞋|拖鞋", "leather rubber silicone canvas", _WEAR, 27,
          ("Open at the toe for hot days.", "露趾透气，夏日清凉。"), 0.8),
    _leaf("handbag", "bags", "handbag|purse|tote bag", "手提包|女包|托特包",
          "leather canvas polyester silk", ("women", "unisex"), 75,
          ("Room for a tablet and a zipped inner pocket.", "可放平板，内设拉链袋。"), 1.2),
    _leaf("backpack", "bags", "backpack|rucksack|school bag", "双肩包|背包|书包",
          "nylon canvas leather polyester", _WEAR, 52,
          ("Padded straps and a sleeve for the laptop.", "肩带加厚，带电脑隔层。"), 1.1),
    _leaf("suitcase", "bags", "suitcase|luggage|trolley case", "行李箱|拉杆箱|旅行箱", "plastic nylon leather", _ADULTS, 110,
          ("Four silent wheels and a lock.", "四轮静音，带密码锁。"), 0.7),
    _leaf("hat", "accessories", "hat|cap", "帽子|鸭舌帽", "cotton wool canvas linen", _WEAR, 17,
          ("Shades the eyes and folds flat.", "遮阳护眼，可折叠收纳。"), 0.8),
    _leaf("scarf", "accessories", "scarf|shawl|neck wrap", "围巾|披肩|丝巾", "wool silk cotton linen", _WEAR, 24,
          ("Long enough to wrap twice.", "长度充足，可绕两圈。"), 0.8),
    _leaf("umbrella", "accessories", "umbrella|parasol", "雨伞|遮阳伞|晴雨伞", "polyester nylon bamboo", _ADULTS, 19,
          ("Opens at a touch and stands the wind.", "一键开合，抗风骨架。"), 0.6),
    _leaf("cushion", "home/textiles", "cushion|throw pillow", "抱枕|靠垫", "cotton linen velvet polyester", _NOBODY, 16,
          ("The cover comes off for washing.", "枕套可拆洗。"), 1.0),
    _leaf("rug", "home/textiles", "rug|carpet|floor mat", "地毯|地垫", "wool cotton polyester bamboo", _NOBODY, 95,
          ("Stays in place and warms the floor.", "底部防滑，脚感温暖。"), 0.8),
    _leaf("lamp", "home/decor", "table lamp|desk lamp|bedside light", "台灯|床头灯",
          "ceramic steel wood glass", _NOBODY, 45,
          ("A soft light for the evening.", "光线柔和，夜读护眼。"), 0.9),
    _leaf("vase", "home/decor", "vase|flower pot", "花瓶|花器", "ceramic glass wood bamboo", _NOBODY, 29,
          ("Holds a single branch or a full bunch.", "单枝成束皆相宜。"), 0.8),
    _leaf("mug", "kitchen", "mug|coffee cup", "马克杯|杯子|水杯", "ceramic glass steel", _NOBODY, 12,
          ("Safe for the dishwasher and the microwave.", "洗碗机微波炉可用。"), 1.1),
    _leaf("pan", "kitchen", "frying pan|skillet", "平底锅|煎锅|炒锅", "steel ceramic wood", _NOBODY, 38,
          ("Heats evenly and nothing sticks.", "受热均匀，不易粘锅。"), 0.8),
    _leaf("teapot", "kitchen", "teapot|kettle", "茶壶|水壶", "ceramic glass steel", _NOBODY, 31,
          ("Pours without a drip; strainer inside.", "断水利落，内置滤网。"), 0.7),
    _leaf("headphones", "electronics", "headphones|headset|earphones", "耳机|头戴式耳机|耳麦",
          "plastic leather steel", _NOBODY, 99,
          ("Thirty hours of play on one charge.", "一次充电，播放三十小时。"), 1.1),
    _leaf("phone_case", "electronics", "phone case|phone cover", "手机壳|保护套",
          "silicone leather plastic wood", _NOBODY, 14,
          ("Raised edges guard the screen.", "边框加高，防摔护屏。"), 1.1),
    _leaf("watch", "electronics", "watch|wristwatch", "手表|腕表", "leather steel silicone nylon", _ADULTS, 120,
          ("Counts steps and survives a swim.", "记录步数，游泳可戴。"), 0.9),
    _leaf("toy_car", "toys", "toy car|model car", "玩具车|小汽车|车模", "plastic wood steel", ("kids",), 15,
          ("Rolls fast, with round safe corners.", "跑得快，圆角更安全。"), 0.8),
    _leaf("teddy", "toys", "teddy bear|stuffed bear", "玩偶熊|泰迪熊|小熊公仔", "cotton velvet wool", ("kids",), 22,
          ("Made to be hugged to sleep.", "抱着入睡的好伙伴。"), 0.8),
    _leaf("lipstick", "beauty", "lipstick|lip colour", "口红|唇膏", "plastic steel bamboo", ("women",), 21,
          ("Stays on through lunch.", "持久显色，不易脱妆。"), 0.8),
    _leaf("perfume", "beauty", "perfume|fragrance|eau de parfum", "香水|淡香精", "glass ceramic", _ADULTS, 68,
          ("Opens with citrus and ends in cedar.", "前调柑橘，尾调雪松。"), 0.8),
    _leaf("ball", "sports", "ball|football|play ball", "足球|皮球|球", "rubber leather plastic", _NOBODY, 23,
          ("Keeps its bounce on grass and street.", "草地街头，弹性持久。"), 0.7),
    _leaf("bottle", "sports", "water bottle|drinking flask", "运动水壶|保温杯|水瓶", "steel plastic glass", _NOBODY, 20,
          ("Cold for a day, hot for half of it.", "保冷一天，保温半日。"), 0.9),
    _leaf("yoga_mat", "sports", "yoga mat|exercise mat", "瑜伽垫|健身垫", "rubber silicone cotton", _NOBODY, 33,
          ("Grips the floor and rolls up small.", "防滑抓地，轻巧易卷。"), 0.7),
)
# fmt: on

CATEGORY_INDEX: dict[str, int] = {category.key: number for number, category in enumerate(CATEGORIES)}
DEPARTMENTS: tuple[str, ...] = tuple(dict.fromkeys(category.parents[0] for category in CATEGORIES))
